"""A trained export in transformers: its tokenizer, its weights, and generation that ends where documents end."""

from pathlib import Path

import numpy as np
import pytest

from audio_data import DatasetWriter, Document, Vocabulary, read_json
from audio_eval import load_checkpoint
from audio_eval.inference.abilities import ContextBudget, find_abilities
from audio_model import find_damage
from audio_tokenize import Segment, SentencePieceText, VocabularyFolder, layout
from audio_train import (
    DataSpec,
    Intervals,
    MixtureStage,
    ModelShape,
    OptimizerSpec,
    ScheduleSpec,
    TrainRun,
    run,
)

TEXTS = ("the cat sat", "good morning to you", "one two three", "rain in the north")
LICENCE = "CC-BY-4.0 | (texts of nobody)"


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[np.ndarray]]:
    """Folder of a dataset and its documents: each text, then codes that belong to it alone."""
    root = tmp_path_factory.mktemp("data")
    text = SentencePieceText.train(TEXTS, 64)
    vocabulary = Vocabulary.compact("tiny", text.num_ids, "no-codec", 2, 16, text.fingerprint)
    VocabularyFolder(vocabulary, text).save(root / "vocabulary")
    codes = np.random.default_rng(0).integers(0, 16, (len(TEXTS), 3, 2)).astype(np.int32)
    order = layout("text_first")
    made = [
        order.document([Segment(np.array(text.encode(said), np.int32), spoken)], vocabulary)[0]
        for said, spoken in zip(TEXTS, codes, strict=True)
    ]
    with DatasetWriter(
        root / "spoken",
        corpus="spoken",
        vocabulary=vocabulary,
        provenance={"codes": {"licence": LICENCE}, "layouts": ["text_first"], "grouping": "utterance"},
    ) as writer:
        for number, ids in enumerate(made * 8):
            writer.write(Document(ids, metadata={"id": str(number)}))
    return root, made


@pytest.fixture(scope="module")
def export(documents: tuple[Path, list[np.ndarray]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    recipe = TrainRun(
        name="said-and-spoken",
        model=ModelShape(embed=64, mlp=128, layers=2, heads=4, kv_heads=2, head_dim=16),
        data=DataSpec(mixture=(MixtureStage(0.0, {"spoken": 1.0}),), seq_len=64, batch_size=4, packing="best_fit"),
        optimizer=OptimizerSpec("adamw", learning_rate=1e-2, weight_decay=0.0),
        schedule=ScheduleSpec(warmup=0.1, decay=0.5),
        steps=150,
        intervals=Intervals(checkpoint_steps=150),
    )
    out = tmp_path_factory.mktemp("run") / "run"
    run(recipe, documents[0], out)
    return out / "export"


def test_generate_says_what_was_learned_and_ends_with_the_document(export: Path, documents):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    tokenizer = transformers.AutoTokenizer.from_pretrained(export)
    model = transformers.AutoModelForCausalLM.from_pretrained(export, dtype=torch.float32)
    for ids in documents[1]:
        whole = tokenizer.decode(ids)
        assert tokenizer(whole, add_special_tokens=False)["input_ids"] == ids.tolist()
        begin, mark, _ = whole.partition("<|audio_start|>")
        prompt = tokenizer(begin + mark, add_special_tokens=False, return_tensors="pt")
        # No id is given here: the end of a document comes from the files of the export.
        generated = model.generate(**prompt, do_sample=False, max_new_tokens=40)[0]
        assert generated.tolist() == ids.tolist()
    assert tokenizer.eos_token == "<|end_of_text|>"
    assert model.generation_config.eos_token_id == tokenizer.eos_token_id == ids[-1]


def test_the_card_has_the_facts_of_model_and_data_and_its_code_runs(export: Path, documents):
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    card = (export / "README.md").read_text()
    front = card.split("---\n")[1]
    assert 'license_name: "CC-BY-4.0 | (texts of nobody)"' in front
    model = transformers.AutoModelForCausalLM.from_pretrained(export)
    assert f"| parameters | {sum(weight.numel() for weight in model.parameters()):,} |" in card
    assert r"| spoken | 1 | 0.00 | CC-BY-4.0 \| (texts of nobody) |" in card
    assert "| training | step 150 of 150, 38,400 tokens, seed 0 |" in card
    (code,) = card.split("```")[1::2]
    torch.manual_seed(0)
    exec(code.removeprefix("python\n").replace('"MODEL"', repr(str(export))), {})


def test_it_records_what_its_documents_teach(export: Path):
    checkpoint = load_checkpoint(export)
    assert checkpoint.layouts == {"text_first"}
    assert checkpoint.has_single_utterances
    abilities = find_abilities(checkpoint, ContextBudget(512, 64, 2, 12.5))
    assert [name for name, reason in abilities.items() if reason is None] == ["speak", "continue"]


def test_every_file_has_a_checksum_and_a_role(export: Path):
    assert {path.name for path in export.iterdir()} == {
        "README.md",
        "checksums.json",
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "provenance.json",
        "special_tokens_map.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "vocabulary",
    }
    assert find_damage(export) is None
    config, generation = (read_json(export / name, remedy="") for name in ("config.json", "generation_config.json"))
    assert config["eos_token_id"] == generation["eos_token_id"]
