"""The card of the tiny VAE: `card.md`, which says what it is and what it learned from, with what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

_COLUMNS = {
    "vae": "tiny VAE",
    "linear code": "linear code",
    "linear code, one basis": "linear code, one basis",
}


def write_card(folder: Path, measured: Mapping[str, Any]) -> None:
    """Write `README.md` and `curve.png` of what was `measured` into `folder`."""
    from model.tiny.vae_training.linear_path import POSTERIOR

    held_out, curve = measured["held out"], measured["curve"]
    rows = [f"| file | {' | '.join(_COLUMNS.values())} |", "|---|" + "---|" * len(_COLUMNS)]
    rows += [f"| {name} | {' | '.join(f'{row[key]:.1f}' for key in _COLUMNS)} |" for name, row in held_out.items()]
    template = Path(__file__).with_name("card.md").read_text(encoding="utf-8")
    card = template.format(
        parameters=measured["parameters"],
        width=POSTERIOR,
        table="\n".join(rows),
        verdict=_verdict(held_out["mean"]),
        minutes=f"{curve[-1]['minute']:.0f}",
    )
    (folder / "README.md").write_text(card, encoding="utf-8")
    _plot(curve, measured["beside the curve"], folder / "curve.png")


def _verdict(mean: Mapping[str, float]) -> str:
    words = []
    for key, name in (("linear code", "the linear code"), ("linear code, one basis", "that of one basis")):
        ahead = mean["vae"] - mean[key]
        words.append(f"{abs(ahead):.1f} dB {'better' if ahead > 0 else 'worse'} than {name}")
    return f"On the mean of the files, the tiny VAE is {words[0]}, and {words[1]}."


def _plot(curve: list[dict[str, float]], beside: Mapping[str, float], path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(7, 3.2), layout="constrained")
    steps = [row["step"] for row in curve]
    axes.plot(steps, [row["held out"] for row in curve], label="tiny VAE, held-out files, 256x256")
    axes.plot(steps, [row["training crops"] for row in curve], label="tiny VAE, training crops", linewidth=1)
    for (name, value), style in zip(beside.items(), ("--", ":")):
        axes.axhline(value, color="gray", linestyle=style, label=f"{name}, the same files")
    axes.set_xlabel("step")
    axes.set_ylabel("PSNR, dB")
    axes.legend(fontsize=8)
    axes.grid(alpha=0.3)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
