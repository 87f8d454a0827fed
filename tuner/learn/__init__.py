"""The one learner: from what a controller went through to a better theta, of whatever house and program."""
