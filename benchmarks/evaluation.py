"""Evaluation against the loop that people write: one item at a time through transformers, on the same weights.

    .venv/bin/python benchmarks/evaluation.py [--vocabulary quickstart|study] [--cores 1|2] [--items N] [--rounds 3]

Likelihood: of words and of sentences, over the full vocabulary, by both. Recognition: prompts of a sentence each, 48
greedy tokens without a grammar, by both. Synthesis: prompts of a text, 4 s of speech, drawn at the study's temperature;
the loop draws from the full vocabulary as the public scripts do, audio-eval under the grammar of frames as its task
does. All in float32, as those scripts. Rounds alternate between the two; the medians of their ratios are given.

`--cores 1`: one thread each, processor seconds, which other work on the machine changes little. `--cores 2`: both as
they come, two threads each, wall clock: only for an idle machine. Compilation is paid once for a test set of any size,
and is given apart.
"""

import argparse
import functools
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

TEXT, BOOKS, NEW_TEXT, NEW_FRAMES = 384, 8, 48, 50
SHAPE = {"embed": 192, "mlp": 512, "layers": 4, "heads": 3, "kv_heads": 3, "head_dim": 64, "max_seq_len": 1_024}
# For so long after their last product torch's threads keep a core busy waiting for the next; in a process of its own
# neither library would meet the other's.
SPIN_SECONDS = 0.5
# Ids of text and of a codebook. The study's: Llama 3's text ids, rounded, and Mimi's codebooks, 144,644 in all.
VOCABULARIES = {"quickstart": (TEXT, 2_048), "study": (128_254, 2_048)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--vocabulary", choices=VOCABULARIES, default="quickstart")
    parser.add_argument("--cores", type=int, choices=(1, 2), default=1)
    parser.add_argument("--items", type=int, help="default: 512 for likelihood, 96 for generation")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", choices=("words", "sentences", "recognition", "synthesis"), action="append")
    options = parser.parse_args()
    os.environ |= {"JAX_PLATFORMS": "cpu", "OMP_NUM_THREADS": str(options.cores)}
    if options.cores == 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false intra_op_parallelism_threads=1"
    Measurement(options.vocabulary, options.cores, options.items, options.rounds).run(options.only or CASES)


class Measurement:
    """A model in both libraries, and what both are asked."""

    def __init__(self, vocabulary: str, cores: int, items: int | None, rounds: int):
        import jax
        import numpy as np
        import torch
        import transformers

        from audio_data import Vocabulary
        from audio_model import Qwen3xConfig, TokenSets, initialize, save_model

        text, book = VOCABULARIES[vocabulary]
        self.vocabulary = Vocabulary.compact("benchmark", text, "codec", BOOKS, book, "text")
        config = Qwen3xConfig(vocab_size=self.vocabulary.size, tied=vocabulary == "quickstart", **SHAPE)
        self.model = initialize(config, jax.random.key(0))
        with tempfile.TemporaryDirectory() as folder:
            save_model(Path(folder), self.model)
            transformers.logging.set_verbosity_error()
            loaded = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
        self.peer = loaded.eval()
        torch.set_num_threads(cores)
        torch.manual_seed(0)
        self.sets = TokenSets.build(self.vocabulary.allowed_sets)
        self.clock = time.process_time if cores == 1 else time.perf_counter
        self.wanted, self.rounds, self.random, self.book = items, rounds, np.random.default_rng(0), book
        size = f"{config.num_parameters / 1e6:.1f} M parameters, {config.vocab_size:,} ids"
        print(f"{size}, {cores} core(s)")

    def run(self, cases: Sequence[str]) -> None:
        for case in cases:
            likelihood = case in ("words", "sentences")
            self.items = self.wanted or (512 if likelihood else 96)
            if likelihood:
                self._likelihood(case)
            else:
                self._generation(case)

    def _documents(self, shortest: int, longest: int) -> list[Any]:
        """Recordings of so many frames, as documents of audio alone."""
        import numpy as np

        v = self.vocabulary
        frames = self.random.integers(shortest, longest, self.items)
        codes = [self.random.integers(0, self.book, (count, BOOKS)) for count in frames]
        return [np.array([v.begin_of_text, v.audio_start, *v.audio_ids(one), v.audio_end], np.int32) for one in codes]

    def _likelihood(self, case: str) -> None:
        import numpy as np

        from audio_eval.scoring import scored_documents

        # Words of 0.4 to 1.2 s as sWUGGY's, sentences of 1 to 4 s as sBLIMP's.
        documents = self._documents(*{"words": (5, 15), "sentences": (12, 50)}[case])
        score = functools.partial(scored_documents, self.model, documents, self.sets)
        theirs, ours = self._compare(
            f"likelihood of {case}",
            lambda: [self._loop_likelihood(ids) for ids in documents],
            lambda: dict(score(softmax="full", label=case)),
        )
        difference = max(np.abs(ours[i].full - one).max() for i, one in enumerate(theirs))
        print(f"  greatest difference of a token: {difference:.1e} nats")
        self._compare(
            f"likelihood of {case}, as trained with the grammar loss",
            lambda: [self._loop_likelihood(ids) for ids in documents],
            lambda: dict(score(softmax="allowed", label=case)),
        )

    def _loop_likelihood(self, ids: Any) -> Any:
        import torch

        tokens = torch.from_numpy(ids).long()
        with torch.no_grad():
            table = torch.log_softmax(self.peer(tokens[None]).logits[0, :-1], dim=-1)
        return table[torch.arange(len(ids) - 1), tokens[1:]].numpy()

    def _generation(self, case: str) -> None:
        import numpy as np

        from audio_eval.decoding import audio_automaton, continue_prompts
        from audio_model import Sampling

        v = self.vocabulary
        if case == "recognition":
            prompts = [np.append(ids, v.text_start).astype(np.int32) for ids in self._documents(12, 50)]
            new, grammar, sampling, chosen = NEW_TEXT, None, Sampling(), {"do_sample": False}
        else:
            texts = [self.random.integers(0, TEXT, size) for size in self.random.integers(10, 40, self.items)]
            ends = [v.text_end, v.audio_start]
            prompts = [np.array([v.begin_of_text, v.text_start, *one, *ends], np.int32) for one in texts]
            new, sampling = NEW_FRAMES * BOOKS, Sampling(temperature=0.9, top_p=0.8)
            grammar = audio_automaton(
                v, min_frames=NEW_FRAMES, max_frames=NEW_FRAMES, vocab_size=self.model.config.vocab_size
            )
            chosen = {"do_sample": True, "temperature": 0.9, "top_p": 0.8, "top_k": 0}
        continued = functools.partial(
            continue_prompts,
            self.model,
            prompts,
            [str(index) for index in range(len(prompts))],
            automaton=grammar,
            stop_id=v.end_of_text,
            sampling=sampling,
            max_new_tokens=new,
            batch_size=16,
            label=case,
        )
        theirs, ours = self._compare(
            case, lambda: [self._loop_generation(ids, new, chosen) for ids in prompts], continued
        )
        if case == "recognition":
            equal = sum(one.tolist() == other for one, other in zip(ours, theirs, strict=True))
            print(f"  same continuation: {equal} of {len(prompts)}")

    def _loop_generation(self, ids: Any, new: int, chosen: dict[str, Any]) -> list[int]:
        import torch

        tokens = torch.from_numpy(ids).long()[None]
        out = self.peer.generate(
            tokens,
            attention_mask=torch.ones_like(tokens),
            max_new_tokens=new,
            min_new_tokens=new,
            eos_token_id=self.vocabulary.end_of_text,
            pad_token_id=0,
            **chosen,
        )
        return out[0, len(ids) :].tolist()

    def _compare(self, what: str, loop: Callable[[], Any], ours: Callable[[], Any]) -> tuple[Any, Any]:
        """Prints items a second and the median ratio; returns what both gave last."""
        first, _ = self._timed(ours)
        rounds = [(self._timed(loop), self._timed(ours, after=SPIN_SECONDS)) for _ in range(self.rounds)]
        (_, theirs), (_, found) = rounds[-1]
        ratios = [one / other for (one, _), (other, _) in rounds]
        slow, fast = (statistics.median(both[side][0] for both in rounds) for side in (0, 1))
        spread = f"{min(ratios):.1f} to {max(ratios):.1f}"
        print(
            f"{what}, {self.items} items: loop {self.items / slow:.1f} items/s, "
            f"audio-eval {self.items / fast:.1f} items/s, "
            f"{statistics.median(ratios):.1f}x ({spread}), {first - fast:.1f} s of compilation",
            flush=True,
        )
        return theirs, found

    def _timed(self, work: Callable[[], Any], after: float = 0.0) -> tuple[float, Any]:
        time.sleep(after)
        start = self.clock()
        result = work()
        return self.clock() - start, result


CASES = ("words", "sentences", "recognition", "synthesis")

if __name__ == "__main__":
    main()
