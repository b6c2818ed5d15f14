"""The gradient steps: TRL's SFTTrainer on rows that are already ids and labels.

TRL is given nothing to decide: no template, no truncation, no packing, no mask. What is left to it
is the loss over the labelled positions, the optimizer and the schedule.
"""

import contextlib
import math
import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy
import torch
from datasets import Dataset
from torch.utils.data import Sampler
from transformers import PrinterCallback, TrainerCallback
from trl import SFTConfig, SFTTrainer
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling

from iteralign.errors import UserError
from iteralign.lm.chat import Chat
from iteralign.lm.weights import quiet
from iteralign.settings import Training
from iteralign.training.rows import IGNORED, MAX_GRAD_NORM, Labelled

OnProgress = Callable[[int, int, str], None]
LOGS = 20
"""How often in one fit the loss is read: reading it makes a GPU wait."""


@dataclass(frozen=True)
class Fit:
    """What a fit reports: updates made, and the loss by token in its first and last stretch."""

    steps: int
    first_loss: float
    last_loss: float


def fit(
    model: Any,
    rows: Sequence[Labelled],
    chat: Chat,
    settings: Training,
    seed: int,
    dtype: str,
    work: Path,
    on_progress: OnProgress,
    at_once: int,
) -> Fit:
    """Train `model` in place.

    Args:
        work: a directory that TRL may write to; nothing in it is kept.
        at_once: tokens that are computed together at most, padding included. A batch that has more is computed in
            parts; its update stays the same but for rounding.

    Raises UserError if the loss or a weight is no longer a number.
    """
    batch = settings.batch_size * settings.gradient_accumulation
    total = math.ceil(-(-len(rows) // batch) * settings.epochs)
    collate = DataCollatorForLanguageModeling(pad_token_id=chat.pad_id())
    _assert_taught(collate, rows)
    with quiet():
        trainer = _Trainer(
            model=model,
            args=_config(settings, seed, dtype, model, total, work),
            train_dataset=Dataset.from_dict(
                {"input_ids": [r.input_ids for r in rows], "labels": [r.labels for r in rows]}
            ),
            data_collator=collate,
            processing_class=chat.tokenizer,
            callbacks=[_Progress(on_progress)],
        )
        trainer.at_once = at_once
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    trained = (p for p in model.parameters() if p.requires_grad)
    if not all(bool(torch.isfinite(p).all()) for p in trained):
        raise UserError(f"training.lr: {settings.lr} made the weights diverge; lower it")
    return Fit(trainer.state.global_step, round(losses[0], 6), round(losses[-1], 6))


def _assert_taught(collate: Any, rows: Sequence[Labelled]) -> None:
    """In a batch, the labels are those of the rows and nothing else: the end token is taught, padding is not, also
    where one token is both. A library that masked by token would break training without a word."""
    ends = sorted(rows, key=lambda row: len(row.input_ids))
    batch = [ends[0], ends[-1]]
    made = collate([{"input_ids": row.input_ids, "labels": row.labels} for row in batch])["labels"].tolist()
    width = len(batch[-1].labels)
    assert made == [row.labels + [IGNORED] * (width - len(row.labels)) for row in batch], (
        "labels were changed"
    )


@contextlib.contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Every global generator set to `seed`, and put back afterwards: training neither depends on what
    ran before it nor changes what runs after."""
    kept = random.getstate(), numpy.random.get_state()
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        random.seed(seed)
        numpy.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        try:
            yield
        finally:
            random.setstate(kept[0])
            numpy.random.set_state(kept[1])


def _config(settings: Training, seed: int, dtype: str, model: Any, total: int, work: Path) -> SFTConfig:
    on_gpu = model.device.type == "cuda"
    config = SFTConfig(
        output_dir=str(work),
        num_train_epochs=settings.epochs,
        per_device_train_batch_size=settings.batch_size,
        gradient_accumulation_steps=settings.gradient_accumulation,
        learning_rate=settings.lr,
        lr_scheduler_type=settings.scheduler,
        warmup_steps=settings.warmup_ratio,  # v5 reads a value below 1 as a share of all updates
        weight_decay=settings.weight_decay,
        max_grad_norm=MAX_GRAD_NORM,
        seed=seed,
        bf16=on_gpu and dtype == "bfloat16",
        fp16=on_gpu and dtype == "float16",
        use_cpu=model.device.type == "cpu",
        gradient_checkpointing=settings.gradient_checkpointing,
        max_length=None,
        packing=False,
        completion_only_loss=False,  # the labels say it already
        dataset_kwargs={"skip_prepare_dataset": True},
        dataloader_num_workers=0,
        dataloader_pin_memory=on_gpu,
        save_strategy="no",
        logging_steps=max(1, total // LOGS),
        report_to="none",
        disable_tqdm=True,
    )
    # With several GPUs visible the Trainer would split a batch over them by threads, which TRL refuses.
    config._n_gpu = min(config.n_gpu, 1)
    return config


class ByLength(Sampler[int]):
    """Row indices in random order, but rows of like length beside each other, so that little of a batch is
    padding. The batches themselves come in random order. A batch here is what one update sees, so that computing
    it in several parts changes nothing else. One order for each seed and epoch, ours and not
    a library's, so that an update of one doesn't change the run.
    """

    POOL = 8
    """Batches that are sorted together: more saves more padding and mixes less."""

    def __init__(self, lengths: Sequence[int], batch_size: int, seed: int) -> None:
        self.lengths, self.batch_size, self.seed, self.epoch = lengths, batch_size, seed, 0

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        rng = random.Random(f"{self.seed}:{self.epoch}")
        self.epoch += 1
        order, size = list(range(len(self))), self.batch_size
        rng.shuffle(order)
        rest = len(order) % size  # a short batch stays last, or it would shift the cuts of the others
        whole, last = order[: len(order) - rest], order[len(order) - rest :]
        pools = [whole[i : i + size * self.POOL] for i in range(0, len(whole), size * self.POOL)]
        batches = [p[i : i + size] for p in map(self._sorted, pools) for i in range(0, len(p), size)]
        rng.shuffle(batches)
        yield from (i for batch in [*batches, last] for i in batch)

    def _sorted(self, pool: list[int]) -> list[int]:
        return sorted(pool, key=lambda i: self.lengths[i])


def parts(batch: Mapping[str, torch.Tensor], at_once: int) -> list[dict[str, torch.Tensor]]:
    """Split a padded batch (rows x tokens) into parts of at most `at_once` tokens, or one row if that has more.

    Rows of like length go together, and each part is padded to its own longest row.
    """
    lengths = batch["attention_mask"].sum(1).tolist()
    if len(lengths) * max(lengths) <= at_once:
        return [dict(batch)]
    groups: list[list[int]] = [[]]
    for row in sorted(range(len(lengths)), key=lengths.__getitem__):
        if groups[-1] and (len(groups[-1]) + 1) * lengths[row] > at_once:
            groups.append([])
        groups[-1].append(row)
    return [{name: values[rows, : lengths[rows[-1]]] for name, values in batch.items()} for rows in groups]


class _Trainer(SFTTrainer):  # type: ignore[misc]
    at_once: int
    current_gradient_accumulation_steps: int

    def training_step(self, model: Any, inputs: Any, num_items_in_batch: Any = None) -> torch.Tensor:
        """Compute a batch in parts. Each loss is that part's share of the whole, so losses and gradients add up."""
        split, steps = parts(inputs, self.at_once), self.current_gradient_accumulation_steps
        if len(split) == 1:
            whole: torch.Tensor = super().training_step(model, inputs, num_items_in_batch)
            return whole
        if (
            num_items_in_batch is None
        ):  # an architecture for which the Trainer takes the mean of each call instead
            num_items_in_batch = inputs["labels"][:, 1:].ne(IGNORED).sum()
        else:  # divides nothing but a mixture's router loss, which is a mean over the tokens of a call
            self.current_gradient_accumulation_steps = steps * len(split)
        losses = [super(_Trainer, self).training_step(model, part, num_items_in_batch) for part in split]
        self.current_gradient_accumulation_steps = steps
        return torch.stack(losses).sum()

    def _get_train_sampler(self, train_dataset: Any = None) -> Sampler[int]:
        lengths = [len(ids) for ids in self.train_dataset["input_ids"]]
        update = self.args.per_device_train_batch_size * self.args.gradient_accumulation_steps
        return ByLength(lengths, update, self.args.seed)

    def _send_telemetry(self) -> None:
        """TRL reports each construction to its makers. A user's runs are the user's own."""


class _Progress(TrainerCallback):  # type: ignore[misc]
    def __init__(self, on_progress: OnProgress) -> None:
        self.on_progress, self.detail = on_progress, ""

    def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:
        if logs and "loss" in logs:
            self.detail = f"loss {logs['loss']:.3f}"
            if not torch.isfinite(torch.tensor(logs["loss"])):
                raise UserError(
                    f"training.lr: the loss is {logs['loss']} with lr {args.learning_rate}; lower it"
                )

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        self.on_progress(state.global_step, state.max_steps, self.detail)
