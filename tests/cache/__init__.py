"""A shared cache under load: several users, killed writers, running readers, odd file systems."""
