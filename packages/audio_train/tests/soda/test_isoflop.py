import pytest

from audio_train.soda.isoflop import isoflop_grid, isoflop_point, isoflop_sweep

VOCAB = 144_644

# Budget with the backward pass counted: rows of width, layers, heads, batch, steps, learning rate, beta2.
SWEEP = {
    3.0e18: """
        256 3 2 32 82031 0.007292 0.99496
        384 4 3 32 49135 0.004861 0.99496
        512 6 4 16 61262 0.002578 0.99748
        640 7 5 16 43506 0.002063 0.99748
        768 8 6 8 64326 0.001215 0.99874
        896 9 7 8 48961 0.001042 0.99874
        1024 11 8 8 35863 0.000912 0.99874
    """,
    9.0e18: """
        256 3 2 32 246094 0.007292 0.99496
        384 4 3 128 36851 0.009723 0.98000
        512 6 4 64 45947 0.005156 0.98995
        640 7 5 32 65260 0.002917 0.99496
        768 8 6 32 48244 0.002431 0.99496
        896 9 7 32 36721 0.002083 0.99496
        1024 11 8 16 53794 0.001289 0.99748
        1152 12 9 16 42754 0.001146 0.99748
        1280 13 10 16 34520 0.001031 0.99748
        1408 14 11 8 56503 0.000663 0.99874
        1536 15 12 8 46794 0.000608 0.99874
        1664 17 13 8 37310 0.000561 0.99874
    """,
    1.8e19: """
        384 4 3 128 73702 0.009723 0.98000
        512 6 4 128 45947 0.007292 0.98000
        640 7 5 64 65260 0.004125 0.98995
        768 8 6 64 48244 0.003438 0.98995
        896 9 7 64 36721 0.002946 0.98995
        1024 11 8 32 53794 0.001823 0.99496
        1152 12 9 32 42754 0.001620 0.99496
        1280 13 10 32 34520 0.001458 0.99496
        1408 14 11 16 56503 0.000938 0.99748
        1536 15 12 16 46794 0.000859 0.99748
        1664 17 13 16 37310 0.000793 0.99748
        1792 18 14 8 63147 0.000521 0.99874
        1920 19 15 8 53887 0.000486 0.99874
        2048 20 16 8 46334 0.000456 0.99874
    """,
    3.0e19: """
        384 4 3 128 122837 0.009723 0.98000
        640 7 5 128 54383 0.005834 0.98000
        896 9 7 64 61201 0.002946 0.98995
        1152 12 9 64 35628 0.002292 0.98995
        1408 14 11 32 47086 0.001326 0.99496
        1664 17 13 16 62183 0.000793 0.99748
        1920 19 15 16 44906 0.000688 0.99748
    """,
    9.0e19: """
        384 4 3 128 368512 0.009723 0.98000
        640 7 5 256 81575 0.008250 0.96040
        896 9 7 256 45901 0.005893 0.96040
        1152 12 9 128 53443 0.003241 0.98000
        1408 14 11 128 35314 0.002652 0.98000
        1664 17 13 64 46637 0.001587 0.98995
        1920 19 15 64 33679 0.001375 0.98995
    """,
    1.8e20: """
        640 7 5 256 163149 0.008250 0.96040
        896 9 7 512 45901 0.008334 0.92237
        1152 12 9 256 53443 0.004583 0.96040
        1408 14 11 256 35314 0.003750 0.96040
        1664 17 13 128 46637 0.002244 0.98000
        1920 19 15 128 33679 0.001945 0.98000
    """,
    3.0e20: """
        640 7 5 256 271915 0.008250 0.96040
        896 9 7 512 76501 0.008334 0.92237
        1152 12 9 512 44536 0.006482 0.92237
        1408 14 11 256 58857 0.003750 0.96040
        1664 17 13 256 38865 0.003173 0.96040
        1920 19 15 128 56132 0.001945 0.98000
    """,
}
TARGETS = {
    9.0e19: """
        2048 20 16 32 57918 0.000912 0.99496
    """,
    1.8e20: """
        2048 20 16 64 57918 0.001289 0.98995
        2304 23 18 64 42021 0.001146 0.98995
    """,
    3.0e20: """
        2048 20 16 128 48265 0.001823 0.98000
        2304 23 18 128 35018 0.001620 0.98000
        2816 27 22 64 42770 0.000938 0.98995
        3072 30 24 64 33266 0.000859 0.98995
    """,
}


def rows(table: str) -> list[list[str]]:
    return [line.split() for line in table.strip().splitlines()]


def as_row(point) -> list[str]:
    model = point.model
    numbers = [model.embed, model.layers, model.heads, point.batch_size, point.steps]
    return [*map(str, numbers), f"{point.learning_rate:.6f}", f"{point.beta2:.5f}"]


@pytest.mark.parametrize("budget", SWEEP)
def test_the_sweep_is_the_published_grid(budget):
    assert [as_row(point) for point in isoflop_sweep(budget / 3, VOCAB)] == rows(SWEEP[budget])


@pytest.mark.parametrize("budget", TARGETS)
def test_targets_follow_the_same_rule(budget):
    assert [as_row(isoflop_point(budget / 3, int(row[0]), VOCAB)) for row in rows(TARGETS[budget])] == rows(
        TARGETS[budget]
    )


def test_the_grid_is_the_sweep_and_the_targets():
    assert sum(len(rows(table)) for table in SWEEP.values()) == 59
    assert sum(len(rows(table)) for table in TARGETS.values()) == 7
    found = [(f"{point.training_budget_flops:.2g}", point.is_target, as_row(point)) for point in isoflop_grid(VOCAB)]
    budgets = [(budget, False, row) for budget, table in SWEEP.items() for row in rows(table)]
    budgets += [(budget, True, row) for budget, table in TARGETS.items() for row in rows(table)]
    assert found == [(f"{b:.2g}", target, row) for b, target, row in sorted(budgets, key=lambda part: part[:2])]


# Of one model of each budget: all parameters and those outside the vocabulary in millions, tokens in billions.
SIZES = """
    3.0e18 768 297.7 75.51 2.108
    9.0e18 1664 1234.6 753.20 1.223
    1.8e19 2048 1934.7 1342.27 1.518
    3.0e19 384 120.5 9.44 64.402
    9.0e19 1408 851.4 444.12 18.515
    1.8e20 2304 2620.1 1953.61 11.016
    3.0e20 3072 5418.7 4530.04 8.720
"""


@pytest.mark.parametrize("row", rows(SIZES), ids=lambda row: row[0])
def test_sizes_and_tokens_are_the_published_ones(row: list[str]):
    budget, width, whole, body, tokens = row
    point = isoflop_point(float(budget) / 3, int(width), VOCAB)
    assert f"{point.model.num_parameters / 1e6:.1f}" == whole
    assert f"{point.model.body_parameters / 1e6:.2f}" == body
    assert f"{point.tokens / 1e9:.3f}" == tokens


def test_points_carry_both_budgets_and_a_slice():
    point = isoflop_point(3e19, 1408, VOCAB)
    assert (point.budget_flops, point.training_budget_flops, point.label) == (3e19, 9e19, "9e19-d1408")
    assert point.v5p_cores == 8
    assert isoflop_point(1e20, 896, VOCAB).v5p_cores > point.v5p_cores
