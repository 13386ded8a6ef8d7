"""`audio-model`, and `python -m audio_model`."""

from audio_model.command_line import run_command_line


def main() -> None:
    """Run the command line."""
    run_command_line("audio_model.cli")


if __name__ == "__main__":
    main()
