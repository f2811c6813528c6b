//! People and agents who work while things fail.
