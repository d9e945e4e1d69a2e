"""The form of a deployment in the Prefect UI, as a person fills it in.

form = run_form.opened(page, "http://127.0.0.1:4200", "admin:…", "dbt-run")
form.choose("Command", "run")
form.add("Select", "orders+")
run_id = form.submit()
"""

import json

from browser import Page

# Gives each field the name that stands above it, to find its elements by.
_NAME_FIELDS = """
for (const label of document.querySelectorAll("form label")) {
  const field = label.closest("div:has(> fieldset)");
  if (field && field.querySelector("label") === label) field.dataset.field = label.innerText.replace(" (Optional)", "");
}
"""
# All that a field shows and holds.
_HELD = """(selector) => [...document.querySelectorAll(selector)].map((field) => field.innerText + " " +
  [...field.querySelectorAll("input, textarea")].map((each) => each.value).join(" ")).join(" ")"""
_ESCAPE = 27


class Form:
    """The form, once it is there."""

    def __init__(self, page: Page) -> None:
        self._page = page
        self._given: dict[str, tuple[str, ...]] = {}
        page.shows("Enforce Parameter Schema", "Submit")
        page.until(lambda: self.fields, what=f"the fields of {page.url}")

    @property
    def fields(self) -> list[str]:
        """The names of its fields, in their order; the first is the parameter that they make up."""
        self._page.run(_NAME_FIELDS)
        names = "[...document.querySelectorAll('[data-field]')].map((each) => each.dataset.field)"
        return [str(each) for each in self._page.ask(names)]

    def write(self, field: str, words: str) -> None:
        """Write a text or a number."""
        self._page.write(f"{self._of(field)} :is(input, textarea)", words)
        self._holds(field, words)

    def write_json(self, field: str, words: str) -> None:
        self._page.write(f"{self._of(field)} [role=textbox]", words)
        self._holds(field, words)

    def choose(self, field: str, *options: str) -> None:
        """Choose from a list that opens."""
        self._page.click(f"{self._of(field)} [aria-haspopup=listbox]")
        for option in options:
            self._page.click("[role=option]", option)
        if self._page.there("[role=option]"):
            self._page.press("Escape", _ESCAPE)
        self._page.until(lambda: not self._page.there("[role=option]"), what=f"the end of the list of {field}")
        self._holds(field, *options)

    def add(self, field: str, *words: str) -> None:
        """Add lines to a list."""
        for number, each in enumerate(words):
            self._page.click(f"{self._of(field)} button", "Add item")
            self._page.write(f"{self._of(field)} textarea", each, number=number)
            self._holds(field, *words[: number + 1])

    def switch(self, field: str) -> None:
        """Switch it on."""
        self._page.click(f"{self._of(field)} [role=switch]")
        on = f"{self._of(field)} [role=switch][aria-checked=true]"
        self._page.until(lambda: self._page.there(on), 10, f"{field} switched on")

    def _of(self, field: str) -> str:
        """Its selector; names are lost where the page draws a part of itself again."""
        self._page.run(_NAME_FIELDS)
        return f'[data-field="{field}"]'

    def _holds(self, field: str, *words: str) -> None:
        """Wait until the field shows this: the page draws it again some time after it was filled in."""
        self._given[field] = words
        held = f"(({_HELD})({json.dumps(self._of(field))}))"
        self._page.until(lambda: all(each in str(self._page.ask(held)) for each in words), 10, f"{words} in {field}")

    def submit(self, name: str) -> None:
        """Start the run that it asks for, under that name."""
        self._page.write("input[name=name]", name)
        for field, words in dict(self._given).items():
            self._holds(field, *words)
        self._page.click("button[type=submit]", "Submit")
        try:
            self._page.until(lambda: not self._page.there("button[type=submit]", "Submit"))
        except AssertionError as error:
            raise AssertionError(f"not submitted: {self._page.text}\n{self._page.problems}") from error


def opened(page: Page, address: str, login: str, deployment: str) -> Form:
    """Open the UI, log in, and go to the form of the deployment by what a person clicks on."""
    page.go(address, wholly=False)
    page.write("input", login)
    page.click("button", "Login")
    page.click("a", "Deployments")
    page.click("a", deployment)
    page.click("button", "Run")
    page.click("[role=menuitem]", "Custom run")
    return Form(page)
