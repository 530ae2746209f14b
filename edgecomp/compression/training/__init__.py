"""One training loop behind everything that trains: fine-tuning, distillation, quantization-aware training.

A step that trains is a frozen dataclass of settings that inherits from `settings.Training`, so that a recipe can give
epochs, optimizer and schedule of each; in its `apply` it calls

    from edgecomp.compression.training.run import train

    report = train(module, bench, self)                     # the task's data and loss, the module in place
    report = train(module, bench, self, objective=..., callbacks=[...])

and puts `report.facts` into the provenance. What is minimised is an `objective.Objective`; what happens on the way is
a `loop.Callback`. A task can bring a loop of its own, `train(module, objective, batches, settings)`, which takes the
place of `loop.fit` in every step.

Weights that are to stay zero have a mask: `masks.set_mask(layer, "weight", mask)`. It travels with the module through
copies and later steps, is in no state dict, and the loop applies it after each step of the optimizer, and after the
task's own loop. Whoever changes the shape of a weight drops or slices its mask.

    settings.py    what a recipe can say about training
    loop.py        the loop: epochs, optimizer steps, validation, early stop, checkpoints
    run.py         the loop with data, loss, metric and progress of the task
    layout.py      the order of images in memory that is fastest
    data.py        shuffled batches of the task's train_data()
    objective.py   the task's loss, or cross-entropy
    penalties.py   L1 and group lasso, which make weights sparse
    optimizers.py  optimizers and schedules by name
    checkpoint.py  what an interrupted run goes on from
    masks.py       weights that stay zero
    batch_norm.py  running statistics measured again, without training
"""
