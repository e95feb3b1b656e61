"""Training: images to checkpoints, checkpoints to ONNX files. The only package that imports torch.

--data FOLDER, --extra, --outliers
  |  alexnet.datasets      images in memory               -> uint8 [N, 32, 32, 3], labels
  |  training_set.py       what an epoch trains on        (extra_images.py: crops drawn anew for each epoch)
  v
trainer.py                 start, resume, epochs          -> runs/<id>/ config.json metrics.csv best.pt last.pt
  |  settings.py           every value that counts        (recipes.py: named ones)
  |  loop.py               an epoch, a step, validation
  |    augment/            pixels to other pixels         basic; robust: resample, color, jpeg, fractals
  |    networks/           pixels to logits               alexnet, teacher; stem, low_rank, batch_norm, initial_weights
  |    optim/              what a step does               losses, schedule, ema, cuda_graph, lazy_low_rank_sgd
  |    distillation.py     teachers, from checkpoints and ONNX files
  |    distributed.py      several processes under torchrun
  |  checkpoint.py         weights and state as files     (run_folder.py: the folder around them, and its lock)
  |  device.py             device, precision, allocator
  |  progress.py           what the terminal shows
  |  tracking/             each epoch                     -> TensorBoard, MLflow
  v
export/                    a checkpoint to a small ONNX file, proven equal
reproduction/              our run beside the published one
"""
