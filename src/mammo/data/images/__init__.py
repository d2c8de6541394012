"""Films and masks: decoding, finding the breast, preprocessing, array store, input check."""
