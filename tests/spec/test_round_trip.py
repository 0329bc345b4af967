"""Specs of every kind: text and values mean the same, and nothing else gets through."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from tests.blobs import needs
from wpack.errors import SpecError
from wpack.spec import POOL_DTYPES, FinetuneSpec, Spec, parse, scalars
from wpack.spec.pools import pool_model
from wpack.spec.recipe import DistillSpec, ScheduleSpec, SGDSpec

names = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,8}", fullmatch=True)
globs = st.text(
    st.characters(blacklist_categories=["Cs"], blacklist_characters="#\ufffe\uffff"),
    min_size=1,
    max_size=8,
).filter(lambda text: not text.startswith("re:"))
patterns = globs | st.sampled_from(["re:a\\.[0-9]+", "re:(a|b).*#q", "a.*#q", "a[#]b"])
counts = st.integers(1, 10**15)


#: Right codecs, in each way of writing them.
chains = st.tuples(
    st.just([]) | st.floats(0, 0.99).map(lambda share: [{"prune": share}]),
    st.just([])
    | st.sampled_from([["int"], [{"int": None}], ["float16"]])
    | st.integers(2, 8).map(lambda bits: [{"int": bits}])
    | st.fixed_dictionaries({"bits": st.integers(2, 8), "block": st.just(32)}).map(
        lambda fields: [{"int": fields}]
    ),
    st.sampled_from([[], ["zstd"], [{"zstd": 3}]]),
).map(lambda stages: [codec for stage in stages for codec in stage])


@st.composite
def pools(draw: st.DrawFn) -> dict[str, object]:
    """Any right pool, as plain values."""
    size = draw(
        st.fixed_dictionaries({"ratio": st.floats(1, 1e300)})
        | st.fixed_dictionaries({"size": counts})
        | st.fixed_dictionaries({"bytes": counts})
    )
    common = {
        "dtype": st.none() | st.sampled_from(POOL_DTYPES),
        "repair": st.none() | st.sampled_from(["none", "rms"]),
        "codecs": chains,
        "placement": st.sampled_from(["ring", "pack", "fold"]),
        "order": st.lists(globs, max_size=2),
        "start": st.dictionaries(globs, st.integers(-5, 10**15), max_size=2),
    }
    tensors = draw(st.lists(patterns, min_size=1, max_size=3))
    chosen = draw(st.fixed_dictionaries({}, optional=common))
    return {"tensors": tensors, **size, **chosen}


plain = st.none() | st.booleans() | counts | st.floats(-1e9, 1e9) | globs
finetunes = st.fixed_dictionaries(
    {},
    optional={
        "task": st.dictionaries(
            globs, plain | st.lists(plain, max_size=2), max_size=3
        ).map(lambda options: {**options, "name": "pkg.mod:task"})
        | st.sampled_from(["image-classification", "./a b.py:task", None]),
        "epochs": counts,
        "batch_size": counts,
        "optimizer": st.fixed_dictionaries(
            {"name": st.just("sgd")},
            optional={
                "lr": st.floats(1e-300, 1e9),
                "nesterov": st.booleans(),
                "fused": st.sampled_from(["auto", True]),
            },
        )
        | st.fixed_dictionaries(
            {}, optional={"betas": st.tuples(st.floats(0, 0.99), st.floats(0, 0.99))}
        ),
        "schedule": st.fixed_dictionaries(
            {}, optional={"warmup": st.integers(0, 10**6) | st.floats(0, 1)}
        ),
        "distill": st.none()
        | st.fixed_dictionaries(
            {"teacher": globs},
            optional={
                "hints": st.fixed_dictionaries(
                    {"modules": st.lists(globs, min_size=1, max_size=2)}
                )
            },
        )
        | st.fixed_dictionaries({"cache": st.booleans() | counts}),
        "compile": st.booleans(),
        "ema": st.none() | st.floats(0.5, 0.999),
        "gradual": st.floats(0, 0.99),
        "seed": st.integers(0, 2**32 - 1),
    },
)
specs = st.fixed_dictionaries(
    {
        "version": st.just(1),
        "pools": st.dictionaries(names, pools(), min_size=1, max_size=3),
    },
    optional={
        "split": st.dictionaries(
            globs,
            st.lists(names, min_size=2, max_size=3, unique=True)
            | st.dictionaries(names, counts, min_size=2, max_size=3),
            max_size=2,
        ),
        "keep": st.lists(globs, max_size=2),
        "keep_codecs": st.dictionaries(globs, chains.filter(bool), max_size=2),
        "finetune": st.none() | finetunes,
    },
)


@needs("prune, int, float16, zstd")
@given(specs)
def test_a_spec_s_text_parses_to_the_spec(values: dict[str, object]) -> None:
    """values → Spec → text → Spec is the identity, and so is one round more."""
    spec = Spec.model_validate(values)
    again = parse(spec.text)

    assert spec == again
    assert spec.text == again.text == Spec.model_validate(again.model_dump()).text


keys = st.sampled_from(
    [
        name
        for section in (
            Spec,
            pool_model("global"),
            FinetuneSpec,
            SGDSpec,
            ScheduleSpec,
            DistillSpec,
        )
        for name in section.model_fields
    ]
)
anything = st.recursive(
    plain | st.sampled_from(["sgd", "global", "1.5M", "4MiB", "*", "re:(", "a#q"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=6)
    ),
    max_leaves=25,
)


@given(st.dictionaries(keys, anything, max_size=5), anything, anything)
def test_any_values_are_read_or_refused(
    values: dict[str, object], pool: object, finetune: object
) -> None:
    """Whatever stands where, the answer is a spec or its mistakes."""
    values = {"version": 1, "pools": {"p": pool}, "finetune": finetune, **values}
    text = scalars.dump(values)
    try:
        spec = parse(text, "s")
    except SpecError as error:
        told = error.problems
    else:
        told = ("s:",) if spec == parse(spec.text) else ()

    assert told
    assert all(problem.startswith(("s:", "…")) for problem in told)
