"""One training loop behind everything that trains: fine-tuning, distillation, quantization-aware training.

A step that trains is a frozen dataclass of settings that inherits from `settings.Training`, so that a recipe can set
epochs, optimizer and schedule for each step. Its `apply` calls

    from edgecomp.compression.training.run import train

    report = train(module, bench, self)                     # the task's data and loss, the module in place
    report = train(module, bench, self, objective=..., callbacks=[...])

and records `report.facts` in the provenance. An `objective.Objective` defines the loss; a `loop.Callback` is called on
the way. A task can bring its own loop, `train(module, objective, batches, settings)`, which then replaces `loop.fit` in
every step.

Weights that have to stay zero get a mask: `masks.set_mask(layer, "weight", mask)`. It stays with the module through
copies and later steps, but is in no state dict. The loop applies it after each optimizer step, and after the task's own
loop. A step that changes the shape of a weight has to drop or slice its mask.

    settings.py    the settings of training in a recipe
    loop.py        the loop: epochs, optimizer steps, validation, early stop, checkpoints
    run.py         runs the loop with data, loss, metric and progress of the task
    layout.py      the fastest memory layout of images
    data.py        shuffled batches of the task's train_data()
    objective.py   the task's loss, or cross-entropy
    penalties.py   L1 and group lasso, which make weights sparse
    optimizers.py  optimizers and schedules by name
    checkpoint.py  the file from which an interrupted run resumes
    masks.py       weights that stay zero
    batch_norm.py  measures running statistics again, without training
"""
