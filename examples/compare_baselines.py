"""Compare methods with their baseline over seeds, and read the table.

    python compare_baselines.py

Runs that are done in the folder are not trained again. Two seeds of a few steps say nothing about the methods: leave
SHORT out, and take five seeds.
"""

import uan_da

SHORT = ["train.epochs=1", "train.steps_per_epoch=8"]


def main() -> None:
    """Train the grid in this process; ``executor=Local.on()`` would take a process for each core."""
    grid = ["method=dann,deep_coral", "norm=bn", "seed=0..1", *SHORT]
    comparison = uan_da.compare("digits", grid, out="runs/comparison")
    columns = ["method", "norm", "seeds", "target", "std", "gain", "gain_low", "gain_high"]
    last = comparison.table.query("selection == 'last'")[columns]
    print(last.round(3).to_string(index=False))
    for row in last.dropna(subset=["gain_low"]).itertuples():
        clear = row.gain_low > 0 or row.gain_high < 0
        word = "clear" if clear else "within the noise"
        print(f"{row.method}: {100 * row.gain:+.1f} points over source_only, {word}")
    print(comparison.results[["method", "seed", "target_last", "train_seconds"]].to_string(index=False))


if __name__ == "__main__":
    main()
