"""Fine-tuning a text classifier: a pretrained encoder, a new head, a task's training split, a minute or two on CPU."""

from variants.methods.base import BuildJob, MethodResult
from variants.methods.examples import first_examples
from variants.methods.text_classification import fitting
from variants.methods.text_classification import model as text_classifier
from variants.recipes.recipe import TrainText


def train(job: BuildJob[TrainText]) -> MethodResult:
    """`job.source` fine-tuned on the recipe's task; IR and safetensors, executed in float32."""
    assert job.source is not None
    import torch

    recipe = job.recipe
    task, examples = first_examples(job, recipe.task, "train", recipe.examples, "recipe.examples")
    torch.manual_seed(job.seed)  # for the new head and for dropout
    with job.progress.step(f"reading {job.source.name}"):
        model, tokenizer = text_classifier.load_encoder(job.source, task.labels)
    data = fitting.encoded(examples, task.labels, tokenizer, min(recipe.tokens, tokenizer.model_max_length))
    total = fitting.steps(len(data), recipe.batch, recipe.epochs)
    with job.progress.step(f"training on {len(data)} texts", total=total) as step:
        fitting.fit(model, data, step, recipe, epochs=recipe.epochs, seed=job.seed)
    text_classifier.save(job, model, tokenizer)
    note = f"{job.source.name} with a head, fine-tuned on {len(data)} examples of {task.name}"
    return text_classifier.result(note, task.labels)
