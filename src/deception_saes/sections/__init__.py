"""What each section computes, from profile and seed to results."""
