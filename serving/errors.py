"""The one exception that stands for a mistake of the user's, not of ours."""


class UserError(Exception):
    """A mistake that its user can mend; the text is one line that says what is wrong and what to do."""
