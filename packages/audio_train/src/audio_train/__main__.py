"""`audio-train`, and `python -m audio_train`."""

from audio_data import run_command_line


def main() -> None:
    """Run the command line."""
    run_command_line("audio_train.cli")


if __name__ == "__main__":
    main()
