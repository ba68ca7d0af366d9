"""Properties are about results, not about speed: a busy machine must not make them fail."""

from hypothesis import settings

settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
