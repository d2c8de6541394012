"""Architectures, one file each: `build(config, image_shape, weights_path) -> keras.Model`."""
