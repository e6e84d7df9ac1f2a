"""Many runs that differ in a few settings: which ones, how far each is trained, and which is best."""
