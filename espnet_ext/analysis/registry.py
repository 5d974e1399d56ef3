"""The analyses, in the order in which reports show them.

The command line (`espnet-ext analyze`), stage 17 of the pipeline, its cache dependencies and the
report read this registry. Importing it loads no torch. To add an analysis, write a module beside
this one that defines `ANALYSIS`, and add it to ANALYSES.
"""

from espnet_ext.analysis import (
    cka,
    cross,
    features,
    mdd,
    partial,
    probes,
    swaps,
    translation,
    vectors,
)
from espnet_ext.analysis.definition import Analysis

ANALYSES: dict[str, Analysis] = {
    analysis.name: analysis
    for analysis in (
        cross.ANALYSIS,
        translation.ANALYSIS,
        mdd.ANALYSIS,
        cka.ANALYSIS,
        probes.ANALYSIS,
        swaps.ANALYSIS,
        vectors.ANALYSIS,
        features.ANALYSIS,
        partial.ANALYSIS,
    )
}
