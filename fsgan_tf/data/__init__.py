"""Images and labels: where they come from, and the batches a training draws."""
