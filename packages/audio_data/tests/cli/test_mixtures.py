import json


def test_mixes_lists_and_shows(run):
    assert "soda" in json.loads(run("mixes", "--json").stdout)
    assert "yodas8" in run("mixes").stdout
    report = json.loads(run("mixes", "soda", "--json").stdout)
    assert sum(report["places"].values()) == report["block"] == 2048
    assert "nemotron_cc/hq_actual      0.05000   102 of 2048" in run("mixes", "soda").stdout
    assert "expected one of" in run("mixes", "sode", status=2).stderr
