"""Errors of code generation: each says what is wrong and what to do, and maps to an exit code."""


class CodegenError(Exception):
    """Base of the errors of this folder."""

    exit_code = 1


class ToolchainError(CodegenError):
    """A tool is missing, was altered, or cannot run on this machine."""

    exit_code = 78


class TargetError(CodegenError):
    """A target architecture that nobody can compile for."""

    exit_code = 2


class CompileError(CodegenError):
    """The C compiler refused generated code: a defect in the generator or a broken compiler."""


class ProblemError(CodegenError):
    """The optimal control problem has a form that the code generator does not cover."""

    exit_code = 78
