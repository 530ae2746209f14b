"""Keywords of programming languages, which cannot be names in them."""


def _words(*lines: str) -> frozenset[str]:
    return frozenset(" ".join(lines).split())


JAVASCRIPT = _words(
    "await break case catch class const continue debugger default delete do else enum eval export extends false",
    "finally for function if implements import in instanceof interface let new null package private protected",
    "public return static super switch this throw true try typeof var void while with yield",
)


C = _words(
    "alignas alignof and asm auto bool break case catch char class const continue default delete do double else",
    "enum export extern false float for friend goto if inline int long mutable namespace new not nullptr operator",
    "or private protected public register restrict return short signed sizeof static struct switch template this",
    "throw true try typedef typename union unsigned using virtual void volatile while xor",
)


JAVA_AND_KOTLIN = _words(
    "abstract as assert boolean break byte case catch char class const continue default do double else enum extends",
    "false final finally float for fun goto if implements import in instanceof int interface is long native new",
    "null object package private protected public return short static strictfp super switch synchronized this throw",
    "throws transient true try typealias typeof val var void volatile when while",
)


SWIFT = _words(
    "actor any as associatedtype async await break case catch class continue default defer deinit do else enum",
    "extension fallthrough false fileprivate for func guard if import in init inout internal is let nil open",
    "operator private protocol public repeat rethrows return self static struct subscript super switch throw throws",
    "true try typealias var where while",
)


DART = _words(
    "abstract as assert async await base break case catch class const continue covariant default deferred do",
    "dynamic else enum export extends extension external factory false final finally for function get hide if",
    "implements import in interface is late library mixin new null of on operator part required rethrow return",
    "sealed set show static super switch sync this throw true try type typedef var void when while with yield",
)
