"""Options that several commands take."""

import click

json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
vocabulary_option = click.option("--vocabulary", metavar="DIR", help="Vocabulary folder, for ids without one.")
root_option = click.option("--root", metavar="DIR", help="Folder with the files of a corpus that is given by name.")
index_option = click.option("--index", default=0, show_default=True, help="Which utterance or document.")
