r"""What sharing costs a vision transformer: one pool, split pools, and nothing shared.

    export WPACK_DATA=…      # has fashion/train-images-idx3-ubyte.gz and its like
    wpack finetune --from-scratch -s benchmarks/vit/base.yaml -o vit.wpool
    wpack inflate vit.wpool -o vit.safetensors
    python -m benchmarks.vit.compare --checkpoint vit.safetensors \
        --json benchmarks/results/vit.json

A small DeiT is first trained untied on Fashion-MNIST, for 16 epochs.  Every arm is
then three epochs more from there, see ``benchmarks/sharing.py``; patch embedding,
tokens, norms, biases and head are kept.  Accuracies are those of ``wpack eval`` on the
test split.
"""

from __future__ import annotations

from pathlib import Path

from benchmarks.sharing import Subject, main

SUBJECT = Subject(
    module="benchmarks.vit.compare",
    about=__doc__,
    folder=Path(__file__).parent,
    name="Fashion-MNIST",
    metric="accuracy",
    unit="",
    rates=(3e-4, 1e-3),
)

if __name__ == "__main__":
    main(SUBJECT)
