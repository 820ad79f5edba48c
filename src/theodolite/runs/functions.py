"""Python functions made from experiments: `theodolite.survey(model, data, out, ...)` and its like."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from theodolite.runs.registry import experiment_of

if TYPE_CHECKING:
    from theodolite.runs.experiment import Experiment
    from theodolite.runs.run import Run

__all__ = ["function_of"]

_RAISES = """
Returns:
    The run, as `theodolite.read_run` gives it.

Raises:
    InputError: before long work starts, when anything cannot be used, or `out` holds another run.
    KeyboardInterrupt: on Ctrl-C; what is finished is kept, and the same call goes on.
    RuntimeError: not one unit could be measured.
"""


def function_of(kind: str) -> Callable[..., Run]:
    """The function of an experiment: what it is about, required settings, `out`, then the other settings by name.

    Raises:
        InputError: there is no experiment of that name.
    """
    experiment = experiment_of(kind)
    signature = _signature(experiment)

    def run(*args: Any, **kwargs: Any) -> Run:
        from theodolite.runs.conduct import conduct

        given = signature.bind(*args, **kwargs).arguments
        arguments = [given.pop(argument.name) for argument in experiment.arguments]
        return conduct(experiment, arguments, given.pop("out", None), **given)

    run.__name__ = run.__qualname__ = kind
    run.__doc__ = _docstring(experiment)
    run.__signature__ = signature  # type: ignore[attr-defined]
    return run


def _signature(experiment: type[Experiment]) -> inspect.Signature:
    def parameter(name: str, *, by_name: bool = False, default: Any = inspect.Parameter.empty) -> inspect.Parameter:
        kind = inspect.Parameter.KEYWORD_ONLY if by_name else inspect.Parameter.POSITIONAL_OR_KEYWORD
        return inspect.Parameter(name, kind, default=default)

    required = [setting for setting in experiment.settings if setting.required]
    others = [setting for setting in experiment.settings if not setting.required]
    names = [*(setting.name for setting in required), "out"]
    # What stands in the place of a required setting is given by name, and so must be what comes after it.
    default = None if any(setting.instead for setting in required) else inspect.Parameter.empty
    parameters = [parameter(argument.name) for argument in experiment.arguments]
    parameters += [parameter(name, default=default) for name in names]
    parameters += [parameter(setting.name, by_name=True, default=setting.default) for setting in others]
    how = {"workers": None, "engine": "local", "shard": None, "cache": True, "progress": None, "log": None}
    return inspect.Signature([*parameters, *(parameter(name, by_name=True, default=how[name]) for name in how)])


def _docstring(experiment: type[Experiment]) -> str:
    text = inspect.getdoc(experiment) or ""
    lines = [f"    {argument.name}: {argument.help}" for argument in experiment.arguments]
    lines += [f"    {setting.name}: {setting.help}" for setting in experiment.settings if setting.required]
    lines.append("    out: the run folder: new, empty, or one of the same configuration.")
    lines += [f"    {setting.name}: {setting.help}" for setting in experiment.settings if not setting.required]
    lines.append("    workers: processes that measure units, one thread each; more than 1 need a model that is named.")
    lines.append("    engine: ``local``, ``ray``, or e.g. ``theodolite.runs.OnRay(address='HOST:6379')``.")
    lines.append(
        "    shard: ``I/N`` for every N-th unit alone, from the I-th; `theodolite.runs.merge` joins the parts."
    )
    lines.append("    cache: whether a self-check of the derivatives that passed before is taken for this run too.")
    lines.append("    progress: called with (units done, units in all, what is under way).")
    lines.append(
        "    log: ``tensorboard:FOLDER``, ``wandb:PROJECT``, ``trackio:PROJECT`` or a logger: where results go too."
    )
    head, _, examples = text.partition("\nExamples:")
    return "\n".join([head.rstrip(), "", "Args:", *lines, _RAISES]) + (f"\nExamples:{examples}\n" if examples else "")
