"""The `README.md` of an exported model: what it is, what it was trained on, and how to use it."""

import json
from collections.abc import Mapping

from audio_data import TokenDataset
from audio_data.markup import markdown_table, markdown_text
from audio_train.resolved import ResolvedRun

CARD_FILE = "README.md"

_UNKNOWN_LICENCE = "not recorded"
_GRAMMAR = """The model was trained with the grammar loss: its likelihoods compare only the tokens that a document may
have at a position (text, or the codes of one codebook). Sample it under that grammar, as `audio-eval` does. A free draw
over all ids, such as that of `transformers.generate`, often picks an id that its codec cannot decode.
"""
_FULL = """A document that is drawn freely may have audio tokens out of order, which no codec decodes. `audio-eval`
draws under the grammar of documents, which allows at each position only text, or the codes of one codebook.
"""
_COLUMNS = ("dataset", "weight", "audio hours", "licence", "fingerprint")


def model_card(resolved: ResolvedRun, step: int, datasets: Mapping[str, TokenDataset]) -> str:
    """Describe an exported model.

    Args:
        resolved: The run that trained it.
        step: Step of its weights.
        datasets: The datasets of the run, by name.

    Returns:
        Markdown with the YAML front matter of the Hugging Face hub.
    """
    run, model, vocabulary = resolved.run, resolved.model, resolved.vocabulary
    weights, tokens = resolved.mixture.stages[-1].weights, step * run.data.tokens_per_step
    licences = {name: _licence(datasets[name]) for name in weights}
    facts = {
        "parameters": f"{model.num_parameters:,}",
        "shape": f"{model.layers} layers, width {model.embed}, {model.heads} attention heads",
        "context": f"{run.data.seq_len:,} tokens",
        "vocabulary": f"{vocabulary.name}: {vocabulary.size:,} ids, {vocabulary.num_text:,} of them text",
        "audio": f"codec {vocabulary.codec_id}, {vocabulary.num_codebooks} codebooks of {vocabulary.codebook_size:,}",
        "training": f"step {step:,} of {resolved.last_step:,}, {tokens:,} tokens, seed {run.seed}",
        "loss": run.loss.kind,
        "run": f"{run.name}, fingerprint {resolved.fingerprint[:12]}",
    }
    begin = "<|begin_of_text|>" if vocabulary.begin_of_text != vocabulary.end_of_text else ""
    prompt = f"{begin}<|text_start|>Good morning.<|text_end|><|audio_start|>"
    return f"""---
library_name: transformers
tags: [audio, speech, text-to-speech, automatic-speech-recognition, discrete-audio-tokens]
license: other
license_name: {json.dumps("; ".join(sorted(set(licences.values()))))}
---
# {markdown_text(run.name)}

A decoder over text and discrete audio tokens, trained by `audio-train`.

{markdown_table(("", ""), facts.items())}

## Training data

The weights are shares of tokens{" in the last stage of the run" if len(resolved.mixture.stages) > 1 else ""}.

{markdown_table(_COLUMNS, _data_rows(weights, licences, datasets))}

## Use

With the command line of this toolkit, where MODEL is this folder:

    audio-eval run MODEL --out EVALUATION
    audio-eval demo MODEL

With transformers, which reads and writes documents as text; audio tokens are characters there:

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("MODEL")
model = AutoModelForCausalLM.from_pretrained("MODEL")
prompt = tokenizer({json.dumps(prompt)}, add_special_tokens=False, return_tensors="pt")
ids = model.generate(**prompt, do_sample=True, max_new_tokens=400)
print(tokenizer.decode(ids[0]))
```

Generation ends at `<|end_of_text|>`, id {vocabulary.end_of_text}.
{_GRAMMAR if run.loss.kind == "grammar" else _FULL}
## Files

`config.json` and `model.safetensors` are Hugging Face's Qwen3. `vocabulary/` gives the ids their meaning,
`provenance.json` names run, datasets and codec, and `checksums.json` lists all files; delete it if you change one of
them on purpose.
"""


def _licence(dataset: TokenDataset) -> str:
    """Terms that the codes of a dataset were recorded under."""
    codes = dataset.manifest.provenance.get("codes")
    licence = codes.get("licence") if isinstance(codes, dict) else None
    return licence if isinstance(licence, str) and licence not in ("", "unknown") else _UNKNOWN_LICENCE


def _data_rows(
    weights: Mapping[str, float], licences: Mapping[str, str], datasets: Mapping[str, TokenDataset]
) -> list[tuple[str, ...]]:
    manifests = {name: datasets[name].manifest for name in weights}
    return [
        (name, f"{weight:g}", f"{manifest.audio_seconds / 3600:.2f}", licences[name], manifest.fingerprint[:12])
        for (name, weight), manifest in zip(weights.items(), manifests.values(), strict=True)
    ]
