"""`audio-eval`, and `python -m audio_eval`."""

from audio_data import run_command_line


def main() -> None:
    """Run the command line."""
    run_command_line("audio_eval.cli")


if __name__ == "__main__":
    main()
