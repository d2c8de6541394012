"""From files to samples: sources, data sets, images, cohort."""
