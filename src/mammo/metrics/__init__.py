"""Numbers from arrays: discrimination, bootstrap, DeLong, calibration, conformal sets, decision curve."""
