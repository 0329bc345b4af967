r"""What sharing costs a language model: one pool, split pools, and nothing shared.

    export WPACK_DATA=…      # has text/tinyshakespeare.txt
    wpack finetune --from-scratch -s benchmarks/shakespeare/base.yaml -o base.wpool
    wpack inflate base.wpool -o base.safetensors
    python -m benchmarks.shakespeare.compare --checkpoint base.safetensors \
        --json benchmarks/results/shakespeare.json

A small GPT is first trained untied, for 4,000 steps.  Every arm is then 1,500 more from
there, see ``benchmarks/sharing.py``; embeddings, output matrix, norms and biases are
kept.  Losses are those of ``wpack eval`` on the test split, in nats a character.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.sharing import Subject, main

SUBJECT = Subject(
    module="benchmarks.shakespeare.compare",
    about=__doc__,
    folder=Path(__file__).parent,
    name="tinyshakespeare",
    metric="loss",
    unit=", nats a character",
    rates=(1e-3, 1e-2),
)

if __name__ == "__main__":
    main(SUBJECT)
