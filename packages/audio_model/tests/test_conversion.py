import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from audio_model import (
    InputError,
    Qwen3xConfig,
    RopeConfig,
    SpecialIds,
    convert,
    extend,
    extend_vocabulary,
    initialize,
    load_config,
    load_model,
    save_model,
)

TOKENIZER = {"model": {"vocab": {"a": 0, "b": 1}}, "added_tokens": [{"id": 49, "content": "<|endoftext|>"}]}
VOCABULARY = {
    **{"num_text": 50, "begin_of_text": 50, "end_of_text": 49, "text_start": 51, "text_end": 52},
    **{"audio_start": 53, "audio_end": 54, "audio_base": 55, "num_codebooks": 3, "codebook_size": 8},
}


@pytest.fixture(scope="module")
def base():
    """A tied text model as Qwen3's base models are: rows padded, another rotary base and epsilon than the study's."""
    config = Qwen3xConfig(
        vocab_size=60,
        embed=16,
        mlp=24,
        layers=2,
        heads=2,
        kv_heads=1,
        head_dim=8,
        tied=True,
        rope=RopeConfig(theta=1e6, scaling=None),
        rms_epsilon=1e-6,
        max_seq_len=32_768,
    )
    rng = np.random.default_rng(0)
    shapes = eqx.filter_eval_shape(initialize, config, jax.random.key(0))
    return jax.tree.map(lambda leaf: jnp.asarray(rng.normal(size=leaf.shape).astype(np.float32)), shapes)


@pytest.fixture
def source(base, tmp_path):
    save_model(tmp_path / "base", base, dtype="bfloat16", special_ids=SpecialIds(begin=49, end=(49, 48)))
    (tmp_path / "base/tokenizer.json").write_text(json.dumps(TOKENIZER))
    return tmp_path / "base"


@pytest.fixture
def vocabulary(tmp_path):
    path = tmp_path / "words"
    path.mkdir()
    (path / "vocabulary.json").write_text(json.dumps(VOCABULARY))
    return path


def _generation(folder):
    return json.loads((folder / "generation_config.json").read_text())


def test_a_conversion_loses_nothing(source, tmp_path):
    sizes = []
    document = convert(source, tmp_path / "out", max_shard_bytes=2000, progress=lambda *size: sizes.append(size))
    config = load_config(source)
    assert document == {
        "folder": str(tmp_path / "out"),
        "source": str(source),
        "revision": None,
        "dtype": "bfloat16",
        "vocab_size": 60,
        "num_parameters": config.num_parameters,
    }
    assert load_config(tmp_path / "out") == config
    assert eqx.tree_equal(load_model(tmp_path / "out", dtype="bfloat16"), load_model(source, dtype="bfloat16"))
    assert (tmp_path / "out/tokenizer.json").read_bytes() == (source / "tokenizer.json").read_bytes()
    assert _generation(tmp_path / "out") == {"bos_token_id": 49, "eos_token_id": [49, 48]}
    assert sum(size for size, _ in sizes) == sizes[0][1] == 2 * config.num_parameters


def test_a_user_s_provenance_is_not_replaced(source, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "provenance.json").write_text("mine")
    with pytest.raises(InputError, match=r"provenance.json` exists and was not written by this command: move it"):
        convert(source, out)
    assert [path.read_text() for path in out.iterdir()] == ["mine"]


def test_a_conversion_of_an_export_keeps_its_vocabulary_and_provenance(base, vocabulary, tmp_path):
    wide = dataclasses.replace(base.config, vocab_size=80)
    model = eqx.tree_at(lambda m: m.embedding, base, jnp.zeros((80, 16)))
    save_model(tmp_path / "run", dataclasses.replace(model, config=wide), vocabulary=vocabulary)
    (tmp_path / "run/provenance.json").write_text(json.dumps({"run": "r", "loss": "grammar"}))
    document = convert(tmp_path / "run", tmp_path / "out", dtype="bfloat16")
    assert document["dtype"] == "bfloat16"
    assert (tmp_path / "out/vocabulary/vocabulary.json").is_file()
    provenance = json.loads((tmp_path / "out/provenance.json").read_text())
    assert provenance == {"run": "r", "loss": "grammar", "source": str(tmp_path / "run"), "revision": None}


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_folders_are_extended_as_models_are(source, tmp_path, dtype):
    document = extend(source, tmp_path / "out", vocab_size=90, seed=5, dtype=dtype)
    # As many rows as the tokenizer beside the weights uses.
    assert (document["num_copied"], document["num_new"]) == (50, 40)
    expected = extend_vocabulary(load_model(source, dtype=dtype), 90, num_copied=50, key=jax.random.key(5))
    assert eqx.tree_equal(load_model(tmp_path / "out", dtype=dtype), expected)
    config = load_config(tmp_path / "out")
    assert (config.rope, config.rms_epsilon, config.tied) == (RopeConfig(theta=1e6, scaling=None), 1e-6, False)
    assert not (tmp_path / "out/tokenizer.json").exists()
    made = json.loads((tmp_path / "out/provenance.json").read_text())["extension"]
    assert made == {"num_copied": 50, "num_new": 40, "deviation": 0.02, "seed": 5}


def test_a_vocabulary_says_how_many_ids(source, vocabulary, tmp_path):
    assert extend(source, tmp_path / "out", vocabulary=vocabulary)["vocab_size"] == 55 + 24
    assert _generation(tmp_path / "out") == {"bos_token_id": 50, "eos_token_id": 49}
    assert (tmp_path / "out/vocabulary/vocabulary.json").is_file()
    with pytest.raises(InputError, match="needs 79 embedding rows, but the weights have 70"):
        extend(source, tmp_path / "out", vocabulary=vocabulary, vocab_size=70)


def test_what_is_unknown_must_be_said(source, tmp_path):
    with pytest.raises(InputError, match="`vocab_size` or `vocabulary` must be given"):
        extend(source, tmp_path / "out")
    (source / "tokenizer.json").unlink()
    with pytest.raises(InputError, match=r"`num_copied` must say how many of the 60 rows .* 151,669 for Qwen3"):
        extend(source, tmp_path / "out", vocab_size=90)
    with pytest.raises(InputError, match="`out` must be another folder than the source"):
        extend(source, source, vocab_size=90, num_copied=50)
    assert extend(source, tmp_path / "out", vocab_size=90, num_copied=48)["num_copied"] == 48


def test_nothing_is_written_of_damaged_weights(source, tmp_path):
    tensors = safetensors.numpy.load_file(source / "model.safetensors")
    tensors["model.norm.weight"][3] = np.inf
    del tensors["model.layers.1.mlp.up_proj.weight"]
    safetensors.numpy.save_file(tensors, source / "model.safetensors")
    with pytest.raises(InputError, match=r"up_proj\.weight: missing; model\.norm\.weight: holds values that are not"):
        convert(source, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_tokenizer_of_other_weights_is_refused(source, tmp_path):
    more = TOKENIZER | {"added_tokens": [{"id": 60, "content": "one too many"}]}
    (source / "tokenizer.json").write_text(json.dumps(more))
    with pytest.raises(InputError, match="needs 61 embedding rows, but the weights have 60"):
        convert(source, tmp_path / "out")


def test_a_folder_that_cannot_be_written_is_a_mistake(source, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(InputError, match=r"cannot write `.*file/out` \(.*\): 0\.0 GB are needed there"):
        convert(source, tmp_path / "file" / "out")
