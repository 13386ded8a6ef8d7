"""What a run costs before anything is started, by count and by the compiler."""
