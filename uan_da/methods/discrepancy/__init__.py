"""Methods that make the distance of the domains smaller."""
