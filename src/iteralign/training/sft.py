"""The trainer: supervised fine-tuning of a policy on accepted revisions, in this process.

A policy is one base and adapters, so a checkpoint is small. A checkpoint is named by what made it
and written whole: asking again for one that is there costs nothing, which is the crash safety.
"""

import copy
import hashlib
import json
import logging
import shutil
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from iteralign.errors import UserError, WorldError
from iteralign.lm import adapters, checkpoints, devices, weights, witness
from iteralign.lm.chat import Chat, require_template
from iteralign.settings import Loading, Training
from iteralign.training import quantized, store
from iteralign.training.rows import IGNORED, MAX_GRAD_NORM, Labelled, labelled
from iteralign.types import Checkpoint, Example

if TYPE_CHECKING:
    from iteralign.training.fit import Fit, OnProgress

log = logging.getLogger(__name__)
AT_ONCE = {"cpu": 800}
"""Training tokens that are computed together, by device. CPU: measured (LOG.md); more is slower there."""
AT_ONCE_ELSEWHERE = 16_384
"""Assumed, for GPUs: 8 rows of the longest that are allowed by default. It must not depend on free memory, or the
same training would not give the same bytes."""


def unwatched(done: int, total: int, detail: str) -> None:
    """The progress callback of a caller who does not watch."""


def unneeded() -> None:
    """What there is to clear away before a training where nothing else is in memory."""


class SftTrainer:
    """Train with TRL's SFTTrainer, LoRA adapters (peft) or all weights.

    Args:
        root: The run directory.
        base: The directory or hub id of the untrained policy.
        settings: The hyperparameters.
        loading: How the base is loaded and its prompts are written; it must be as the policy's.
        seed: Of the order of the rows, of fresh adapters and of dropout.
        on_progress: Called as `on_progress(done, total, detail)` after every update.
        make_room: Called before a model is loaded, so that others may leave the memory.

    Raises UserError where the method cannot be had on this machine, or the template is unknown.
    """

    def __init__(
        self,
        root: Path,
        base: str,
        settings: Training,
        loading: Loading | None = None,
        seed: int = 0,
        on_progress: "OnProgress" = unwatched,
        make_room: Callable[[], None] = unneeded,
    ) -> None:
        self.root, self.settings, self.on_progress, self.make_room = root, settings, on_progress, make_room
        self.loading, self.seed = loading or Loading(), seed
        require_template(self.loading.template, "training.template")
        if settings.method == "qlora":
            quantized.require(devices.device_of(self.loading.device))
        self.source = weights.Source(base, self.loading.revision, self.loading.trust_remote_code)

    @cached_property
    def id(self) -> str:
        """A digest of every hyperparameter, with device and number format as they are on this machine."""
        text = json.dumps(self._decides, sort_keys=True)
        return f"sft-{hashlib.sha256(text.encode()).hexdigest()[:16]}"

    def train(self, start: Checkpoint, examples: Sequence[Example]) -> Checkpoint:
        """Fine-tune `start`; an adapter is continued, a base gets a fresh one. No rows: `start` itself.

        On the CPU the same inputs give the same bytes (measured with a fixed number of threads).
        Where memory does not suffice, each update is computed in smaller parts, which changes its rounding only.
        Raises UserError for a row that is too long, a method that cannot continue `start`, divergence; WorldError
        if the memory does not hold a single row.
        """
        if not examples:
            return start
        self._refuse(start)
        name = store.checkpoint_id(self.id, start, examples)
        folder = self.root / "checkpoints" / name
        kind: Literal["adapter", "full"] = "full" if self.settings.method == "full" else "adapter"
        made = Checkpoint(id=name, base=start.base, path=f"checkpoints/{name}", kind=kind)
        if not self._is_there(made, start):
            self.make_room()
            with store.written_whole(folder) as partial:
                self._train(start, examples, partial, name)
                checkpoints.seal(partial)
            devices.give_back(self.device)
        return replace(made, hash=checkpoints.hash_of(folder))

    def _is_there(self, made: Checkpoint, start: Checkpoint) -> bool:
        """Whether `made` was trained before the run was interrupted. Raises UserError if it is damaged."""
        folder = self.root / str(made.path)
        if not checkpoints.is_complete(folder) or not (folder / checkpoints.SUMS).is_file():
            return False
        checkpoints.require(self.root, made)
        record = json.loads((folder / checkpoints.RECORD).read_text(encoding="utf-8"))
        if (record.get("checkpoint"), record.get("start_hash")) == (made.id, start.hash):
            return True
        # a copy of another checkpoint's folder, or the start has since been trained anew with other weights
        log.warning("checkpoint %s: what is there was not made from this start; training it again", made.id)
        return False

    @cached_property
    def device(self) -> str:
        return devices.device_of(self.loading.device)

    @cached_property
    def dtype(self) -> str:
        return devices.dtype_of(self.loading.dtype, self.device)

    @property
    def _decides(self) -> dict[str, Any]:
        """All that decides the weights, as it is on this machine."""
        options = {k: v for k, v in asdict(self.settings).items() if k != "keep"}
        machine = {"device": self.device, "dtype": self.dtype}
        return options | asdict(self.loading) | machine | {"seed": self.seed, "max_grad_norm": MAX_GRAD_NORM}

    def _refuse(self, start: Checkpoint) -> None:
        method = self.settings.method
        if start.kind != "base" and (start.kind == "full") != (method == "full"):
            raise UserError(
                f"training.method: {method!r} cannot continue {start.id}, which holds "
                f"{'full weights' if start.kind == 'full' else 'an adapter'}; start from the base"
            )
        checkpoints.require(self.root, start)

    def _train(self, start: Checkpoint, examples: Sequence[Example], folder: Path, name: str) -> None:
        s, chat = self.settings, weights.load_chat(self.source, self.loading.template)
        config = weights.config_in(weights.find(self.source), self.source)
        context = weights.context_of(config)
        rows = labelled(examples, chat, min(s.max_length or context, context))
        longest = max(len(row.input_ids) for row in rows)
        at_once = s.batch_size * longest
        if not hasattr(config.get_text_config(), "output_router_logits"):
            # a mixture of experts has a router loss, which is another one where rows are computed apart
            at_once = min(at_once, AT_ONCE.get(self.device, AT_ONCE_ELSEWHERE))
        while (done := self._attempt(start, (rows, chat), folder, at_once)) is None:
            at_once = self._smaller(at_once, longest)
        record = {
            "checkpoint": name,
            "trainer": self.id,
            "settings": self._decides,
            "start": start.id,
            "start_hash": start.hash,
            "base": start.base,
            "tokens_at_once": at_once,
            **done,
        }
        store.write_json(folder / checkpoints.RECORD, record)

    def _smaller(self, at_once: int, longest: int) -> int:
        """Return the next smaller number of tokens at once, after memory ran out.

        Below the length of the longest row nothing is gained: that row is computed alone already.
        """
        devices.give_back(self.device)
        if at_once <= longest:
            raise WorldError(
                "out of memory while training on a single row; free memory and rerun to resume, or start anew with "
                "training.gradient_checkpointing = true, a smaller training.max_length, or method = 'lora'"
            )
        smaller = max(longest, at_once // 2)
        log.warning(
            "out of memory with %d training tokens at once; beginning again with %d", at_once, smaller
        )
        return smaller

    def _attempt(
        self, start: Checkpoint, taught: tuple[Sequence[Labelled], Chat], folder: Path, at_once: int
    ) -> dict[str, Any] | None:
        """Train and save with `at_once` tokens computed together: what there is to report, or None if that was too
        much. The caller goes on once this frame, which holds the tensors, is gone."""
        try:
            return self._fit_and_save(start, taught, folder, at_once)
        except (RuntimeError, MemoryError) as error:
            if not weights.ran_out(error):
                raise
            return None

    def _fit_and_save(
        self, start: Checkpoint, taught: tuple[Sequence[Labelled], Chat], folder: Path, at_once: int
    ) -> dict[str, Any]:
        from iteralign.training import changed
        from iteralign.training.fit import fit, seeded

        (rows, chat), s = taught, self.settings
        with seeded(self.seed):
            model = self._model(start)
            config = copy.deepcopy(model.config)
            if s.method == "full":
                weights.require_savable(config, chat.tokenizer, self.source)
            work = folder / "work"
            work.mkdir(exist_ok=True)
            before = changed.values(model)
            done: Fit = fit(model, rows, chat, s, self.seed, self.dtype, work, self.on_progress, at_once)
            share = changed.reported(before, model, s, self.dtype)
            first = rows[0]
            witness.save(folder, witness.of(model, first.input_ids, first.labels.count(IGNORED)))
        if s.method == "full":
            # TRL switches a mixture of experts to training in its config; generation would fail with that
            model.config = config
            _save_whole(folder, model, chat)
        else:
            store.save_adapter(folder, model, start.base)
        shutil.rmtree(work)
        tokens = sum(len(r.input_ids) for r in rows)
        return {"rows": len(rows), "tokens": tokens, **asdict(share), **asdict(done)}

    def _model(self, start: Checkpoint) -> Any:
        """The model with the weights to train. Under LoRA the base may be in half precision, the adapter
        is in float32; a full fine-tune keeps float32 weights, or small updates would be rounded away."""
        s = self.settings
        if s.method == "full":
            path = None if start.path is None else self.root / start.path
            source = self.source if path is None else weights.Source(str(path.resolve()))
            # what accelerate has to move while it places a model no longer asks for gradients
            return weights.load_model(source, self.device, "float32").requires_grad_(True)
        if s.method == "qlora":
            base = weights.load_model(
                self.source, self.device, self.dtype, **quantized.options(self.device, self.dtype)
            )
            base = quantized.prepared(base, s.gradient_checkpointing)
        else:
            base = weights.load_model(self.source, self.device, self.dtype)
        with weights.quiet():
            return self._fresh(base) if start.path is None else self._continued(base, start)

    def _fresh(self, base: Any) -> Any:
        from peft import LoraConfig, get_peft_model

        s = self.settings
        config = LoraConfig(
            task_type="CAUSAL_LM",
            target_modules="all-linear",
            r=s.lora_rank,
            lora_alpha=s.lora_alpha,
            lora_dropout=s.lora_dropout,
        )
        return get_peft_model(base, config)

    def _continued(self, base: Any, start: Checkpoint) -> Any:
        model = adapters.beside(base, self.root / str(start.path), self.source.name, trainable=True)
        rank = model.peft_config["default"].r
        if rank != self.settings.lora_rank:
            raise UserError(f"training.lora_rank: {self.settings.lora_rank}, but {start.id} has rank {rank}")
        return model


def _save_whole(folder: Path, model: Any, chat: Chat) -> None:
    with weights.quiet():
        model.save_pretrained(folder)
        chat.tokenizer.save_pretrained(folder)
