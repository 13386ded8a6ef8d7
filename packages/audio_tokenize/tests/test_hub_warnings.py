import pytest

from audio_tokenize.hub_warnings import without_hub_retries


def test_requests_that_are_tried_again_are_not_told_of(caplog):
    logging = pytest.importorskip("huggingface_hub").logging
    logger = logging.get_logger("huggingface_hub.utils._http")
    logger.propagate, before = True, logging.get_verbosity()
    with without_hub_retries():
        logger.warning("retrying in 1 s")
    logger.warning("afterwards")
    assert [record.message for record in caplog.records] == ["afterwards"]
    assert logging.get_verbosity() == before
