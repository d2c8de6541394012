"""Films and masks: decoding, the breast, preprocessing, the array store, the check of an input."""
