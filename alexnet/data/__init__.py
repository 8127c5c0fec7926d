"""Turns images in any form into training batches. The modules follow the order of the pipeline.

Reading order: `images`, `resample`, `samples`, `public_sets`, `folders`, `split_names`, `layout`, `file_labels`,
`class_folders`, `sources`, `exclusions`, `prepare_plan`, `prepare_shards`, `pixel_statistics`, `prepare`, `shards`,
`dataset`, `remote`, `open`, `crops`, `augment`, `loader`, `device_images`, `device_loader`.
"""
