"""Features of sparse autoencoders: whether training from another seed finds the same ones."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from espnet_ext.analysis import definition
from espnet_ext.analysis.definition import Analysis, Output, Result
from espnet_ext.document import Column, Section, number
from espnet_ext.errors import UserError

STABLE = 0.7  # cosine from which a feature counts as found again
STABILITY = Output(
    "Stability of the sparse features over seeds",
    "Mean of the largest cosine of each feature of a system with any feature of its twin from "
    f"another seed, and the share of features for which it is at least {STABLE}; the columns on "
    "random directions show what chance gives.",
)


def run(models: Mapping[str, str], twins: Mapping[str, str] | None = None) -> Result:
    """Compare the features of each system with `conditioning: sparse` with those of its twin.

    Raises:
        UserError: if a model has no sparse autoencoder, or a twin has another encoder size.
    """
    import torch

    from espnet_ext.model.conditioning.sparse import feature_stability

    rows, without = [], []
    for system, folder in models.items():
        features = _features(folder)
        if not twins or system not in twins:
            without.append(system)
            continue
        others = _features(twins[system])
        if others.size(1) != features.size(1):
            raise UserError(
                f"{twins[system]}: features of width {others.size(1)}, those of {folder} have "
                f"{features.size(1)}",
                "give the twin of the same system",
            )
        best, mean = feature_stability(features, others)
        generator = torch.Generator().manual_seed(0)
        random = torch.randn(features.shape, generator=generator)
        chance, chance_mean = feature_stability(random, others)
        rows.append(
            {
                "system": system,
                "features": len(features),
                "mean": mean,
                "stable": float((best >= STABLE).double().mean()),
                "random_mean": chance_mean,
                "random_stable": float((chance >= STABLE).double().mean()),
            }
        )
    return {"version": 1, "rows": rows, "without_twin": without}


def _features(folder: str) -> Any:
    """Return the directions (M, D) of the sparse autoencoder in a model directory."""
    from espnet_ext.model.load import read_state

    path = Path(folder) / "model.pth"
    directions = read_state(path).get("conditioning.directions")
    if directions is None:
        raise UserError(
            f"{path}: the model has no sparse autoencoder", "name systems with conditioning: sparse"
        )
    return directions.float()


def section(result: Mapping[str, Any]) -> Section:
    """Return the table of `run`'s numbers."""
    columns: dict[str, Column] = {
        "system": "system",
        "features": "features",
        "mean cosine": lambda row: number(row["mean"]),
        "stable %": lambda row: number(100 * row["stable"]),
        "random: mean cosine": lambda row: number(row["random_mean"]),
        "random: stable %": lambda row: number(100 * row["random_stable"]),
    }
    rows: Sequence[Mapping] = result["rows"]
    items = [STABILITY.table(columns, rows, text_columns=1, details=True)] if rows else []
    names = ", ".join(result["without_twin"])
    notes = [f"Not trained from a second seed (--twins): {names}."] if names else []
    return Section("Sparse features", items=items, notes=notes, topic="models")


ANALYSIS = Analysis(
    name="features",
    description="sparse features: whether training from another seed finds the same ones",
    inputs=[definition.MODELS, definition.TWINS],
    outputs=[STABILITY],
    run=run,
    section=section,
    result_files=["analysis/features.json"],
    requested_by="conditioning=sparse",
)
