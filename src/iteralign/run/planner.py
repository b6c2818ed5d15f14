"""Planner: from a config to its plan. Without calibration nothing is loaded or asked; with it, a little of both."""

import tempfile
from contextlib import closing
from pathlib import Path

from iteralign.budget import stubs
from iteralign.budget.calibration import Calibration, Stage, Tell
from iteralign.budget.estimate import Plan
from iteralign.budget.limits import Purse
from iteralign.config.schema import Config
from iteralign.run import build, offline
from iteralign.run.inputs import material, report_probes
from iteralign.types import Checkpoint, Material


def plan(config: Config, calibrate: bool = False, tell: Tell = lambda _: None) -> Plan:
    """The plan of `config`. Raises UserError; with `calibrate` also what its actors raise.

    calibrate: load the policy, ask the oracle about a sample, and fine-tune on a few rows; what is asked
    counts against the budget of the config. tell: hears of each stage of that.
    """
    with offline.kept(config):
        questions, test = material(config), report_probes(config)
        # A run that does not measure as it goes still has test probes, and the calibration needs some.
        sampled = Material(questions.batches, questions.probes or test, questions.benign)
        calibration = measured(config, sampled, tell) if calibrate else supposed(config, sampled)
    return Plan(config, questions, test, calibration)


def supposed(config: Config, questions: Material) -> Calibration:
    """A calibration with stand-ins: real prompts, answers of assumed length."""
    method = build.method(config)
    lab = stubs.lab(method, build.counts(config))
    base = Checkpoint("policy", config.policy.model)
    return Stage(config, method, questions, lab, Path(), real=False).run(base)


def measured(config: Config, questions: Material, tell: Tell) -> Calibration:
    """A calibration with the actors of the config, in a directory that is removed behind it."""
    method = build.method(config)
    with tempfile.TemporaryDirectory(prefix="iteralign-plan-") as folder:
        root = Path(folder)
        policy = Checkpoint(build.identity(config), config.policy.model)
        with closing(build.lab(config, root, lambda *_: None, Purse(config, root))) as lab:
            return Stage(config, method, questions, lab, root, real=True, tell=tell).run(policy)
