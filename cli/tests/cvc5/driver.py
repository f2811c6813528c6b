"""cvc5 as a program: SMT-LIB on standard input, each command answered as it comes.

The wheel brings the solver as a library. This is what its own executable would do for us, and no more: options
`--lang smt` and `--tlimit=MILLISECONDS`; after an error it prints it and ends.
"""

import sys

import cvc5


def commands(stream):
    """One balanced s-expression after the other: strings, quoted symbols and comments are looked through."""
    text, depth, inside = [], 0, ""
    for line in stream:
        for char in line:
            if inside == ";":
                inside = "" if char == "\n" else ";"
                continue
            if inside:
                # A doubled quote inside a string ends it and begins it again, which comes to the same.
                inside = "" if char == inside else inside
            elif char in '";|':
                inside = char
                if char == ";":
                    continue
            elif char == "(":
                depth += 1
            elif char == ")":
                depth -= 1
            if depth or text or not char.isspace():
                text.append(char)
            if depth == 0 and char == ")" and not inside:
                yield "".join(text)
                text = []


class Session:
    """Everything that `(reset)` begins anew."""

    def __init__(self, options):
        self.terms = cvc5.TermManager()
        self.solver = cvc5.Solver(self.terms)
        for name, value in options:
            self.solver.setOption(name, value)
        self.symbols = cvc5.SymbolManager(self.terms)
        self.parser = cvc5.InputParser(self.solver, self.symbols)
        self.parser.setIncrementalStringInput(cvc5.InputLanguage.SMT_LIB_2_6, "stdin")

    def answer(self, text):
        self.parser.appendIncrementalStringInput(text + "\n")
        return self.parser.nextCommand().invoke(self.solver, self.symbols)


def main():
    limits = [argument.removeprefix("--tlimit=") for argument in sys.argv if argument.startswith("--tlimit=")]
    options = [("tlimit", limit) for limit in limits]
    session = Session(options)
    for text in commands(sys.stdin):
        if text == "(exit)":
            return 0
        if text == "(reset)":
            session = Session(options)
            continue
        try:
            answer = session.answer(text)
        except RuntimeError as error:
            said = str(error).replace('"', '""').replace("\n", " ")
            print(f'(error "{said}")', flush=True)
            return 1
        sys.stdout.write(answer)
        sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
