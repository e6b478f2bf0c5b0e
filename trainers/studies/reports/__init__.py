"""Tables and figures of the experiments, from what was measured, by the experiment's name."""

from trainers.studies.reports import claims, defences, models, others, sweeps

REPORTS = {
    "claims": claims.report,
    "comparison": models.comparison,
    "defences": defences.report,
    "figure1": models.panels,
    "figure2": models.overlap,
    "figure3": sweeps.single_layer,
    "figure4": models.hearts,
    "figure5": sweeps.three_attacks,
    "figure6": sweeps.quality,
    "figureA7": others.swiss_roll,
    "figureD8": sweeps.layers,
    "figureD9": sweeps.heat_maps,
    "figureE10": sweeps.distances,
    "figureE11": others.disentanglement,
    "figureF12": others.denoising,
    "table1": others.table1,
}
