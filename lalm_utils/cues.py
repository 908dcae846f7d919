"""The cues by which replies are read: what is addressed to the asker, letters, denials, phrases that commit.

One table of patterns, `NAME = pattern` over one or more lines; a pattern may name those above it in braces. All ignore
case. Not known here: options; which cue counts for what is said by the rules in parsing.
"""

import re
from types import SimpleNamespace

from lalm_utils.wording import parts

_TABLE = parts(
    r"""
    NUMBER =
        (?:\d+(?:[.,]\d+)?|zero|one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|thirteen|fourteen|
        fifteen|sixteen|seventeen|eighteen|nineteen|twenty)
    OUT =
        (?:not|never|unlikely|improbable|implausible|doubtful|incorrect|wrong|absent|missing|impossible|out|ruled out|
        excluded|eliminated|dismissed|rejected|discarded|
        (?:the\s+)?(?:less|least) (?:likely|plausible|probable|fitting|suitable)|nowhere|
        (?:an?\s+)?(?:incorrect|wrong|unlikely|
        improbable|bad|poor)\b)
    IS = \s+(?:is|would be|should be|must be|will be|has to be|seems to be|appears to be)\b
    ANSWER_WORD =
        (?<!incorrect )(?<!wrong )(?<!least )(?<!least likely )(?<!less )(?<!less likely )(?<!worst )
        \b(?:(?:final\s+)?answer|(?:correct|right|best|likely|final|my|selected|chosen|predicted)\s+(?:option|choice|
        response|reply|selection|letter))\b
    VERB = (?<!\bto )(?<!\bnot )(?<!n't )(?<!\bi )(?<!\bcan )
    ASKED_WORD = (?!\s+(?:the|this|that|your|any|such|these|it|my)\s+(?:\w+\s+)?questions?\b)
    FOREIGN =
        (?:答案|正解|解答|回答|答え)\s*(?:應該是|应该是|應為|应为|是|為|为|は|:)|(?:我)?(?:選擇|选择|應選|应选|選|
        选)\s*(?:的是)?:?(?!项|項|択)|我(?:认为|認為|觉得|覺得)\s*(?:答案)?\s*(?:應該是|应该是|是|選|选)|정답\s*(?:은|는|:)|답\s*(?:은|:)|선택\s*(?:은|
        :)|\b(?:antwort|lösung|respuesta|
        réponse|risposta|resposta)\b(?:(?:\s+[a-zà-ÿ]+){0,2}?\s*(?::|\b(?:ist|lautet|wäre|es|sería|est|serait|è|
        é)\b)|(?=\s+\(?[a-h]\b\)?\s*(?:$|[.,!\n])))|\bje (?:pense|crois) que c'est\b(?:\s+(?:la|le|l'option))*|
        \bcreo que es\b(?:\s+(?:la|el|opción))*|
        \b(?:ich (?:wähle|nehme)|elijo|escojo|je choisis|scelgo)\b(?:\s+(?:la|el|die|option|opción|l'option))*

    # What is not addressed to the asker, and other people's turns.
    THOUGHT =
        <(?P<end>/|\|end_of_)?(?:\|begin_of_)?(?:seed:)?(?P<name>think(?:ing)?|thoughts?|reason(?:ing)?|rationale|
        reflection|scratchpad|analysis|caption|planning|plan|cot|summary)\|?>|
        [\[◁](?P<end2>/)?(?P<name2>think(?:ing)?|thought)[\]▷]|(?P<channel><\|channel\|>\s*(?:analysis|
        commentary)\s*<\|message\|>)|(?P<final><\|channel\|>\s*final\s*<\|message\|>)
    RESPONSE = <(/?)\s*(?:response|answer|conclusion|final[_ -]?answer|final|output|solution)\s*>
    TURN =
        (?:^|\n)[ \t#*>\[<|]*(?:(?P<other>(?:human|user|student|instruction|usuario|benutzer|utilisateur|用户|用戶|
        사용자)(?=[ \t*\]>|]*(?::|\n|$))|im_start\|>\s*user|inst\])|(?:question|heard|assistant|problem|input|example|
        q|options|frage|pregunta|问题|問題|質問|질문)(?:[ \t]*\d+)?(?=[ \t*\]>|]*(?::|\n|$)))
    MARKUP = \\(?:text\w*|math\w+|bm|boldsymbol|mbox|emph|underline|bf)\s*\{|\\[()\[\]]|\\(?:left|right)\b|\$+(?!\d)
    COURTESY =
        \b(?:i'd|i would|i'll|i will|i am|i'm|we'd|would)\s+(?:be\s+)?(?:\w+\s+)?(?:happy|glad|pleased|delighted|
        excited)\s+to\b[^.!?\n]*|(?<!\w)(?:always |more than |so |very )?(?:happy|glad|pleased|delighted) to (?:help|
        assist|answer|analy|provide)[^.!?\n]*|\b(?:feel free|(?:don't|do not) hesitate) to\b[^.!?\n]*|
        \blet me know\b[^.!?\n]*|(?:^|(?<=[.!?\n]\s))thank(?:s| you)\b[^.,!?\n]*|\bi hope (?:this|that|it|
        you)\b[^.!?\n]*|\b(?:what do you think|would you like|do you (?:want|have|need)|can i help|(?:is|
        's) there anything)\b[^.!?\n]*\?|\bi(?:'m| am)\s+(?:\w+\s+)?(?:sorry|afraid)\b(?=[\s,]*(?:but|that|i|the|it|
        this|we|to|for|about|there|$|[.!])\b)|\byou(?:'re| are) welcome\b|\b(?:good|great|excellent|
        interesting) question\b|\bhave a (?:\w+ )?(?:nice|great|good|happy|wonderful|lovely) \w+|\b(?:best|kind|
        warm) regards\b|\b(?:with|my) pleasure\b|\bno problem\b|\b(?:that|this|you)(?:'s|'re| is| are| sounds| seems)\s+
        (?:\w+ly\s+|quite\s+|all\s+)?(?:right|correct)(?=[\s\"'*]*(?:$|[.,!;:\n]))|\ball right\b|\bright (?:now|away|
        after|before|at the|from the)\b
    STRUCK = ~~[^~\n]+~~|<(?P<struck>s|del|strike)>(?:.|\n)*?</(?P=struck)>
    SUM =
        (?<![\w.]){NUMBER}(?:\s+[a-z]+)?(?:\s*(?:[-+*/x×÷]|\bplus\b|\bminus\b|\btimes\b|
        \band\b)\s*{NUMBER}(?:\s+[a-z]+)?){1,20}?\s*(?:=|\b(?:equals?|makes?|gives?|is|are)\b)\s*(?={NUMBER}\b)

    # Not an option's number but a bound on it, before and after the number.
    BOUND =
        \b(?:at (?:least|most)|(?<!adds )(?<!add )(?<!comes )(?<!sums )up to|over|under|above|below|
        a (?:minimum|maximum) of|no (?:more|fewer|less) than)\s+$
    OR_MORE = (?:\s+\w+){0,2}?\s+or\s+(?:more|fewer|less|above|over|under)\b

    # Letters. A letter is bare where only what follows it tells it from an article or a pronoun.
    BARE =
        ([a-z])(?=[\"'*)\]}]*(?:\s*(?:$|[)\n<]|[.,;:!?/](?=[\s\"'*)}<]|$))|\s+[-(]|\s+(?:because|since|as|due|and|
        or)\b|\s*[。\u3041-\u3096\u30a1-\u30fa\u3400-\u9fff\uac00-\ud7af]))
    MARKED =
        (?<!\w)[(\[{]\s*([a-z])\s*[)\]}]|<(?-i:([A-Z]))>(?=\s*(?:$|\n))|\b(?:option|choice|letter|
        opción) +[\"'*(]*([a-z])(?=[\"'*]*(?:\s*$|\s*[^\w\s]|\s+(?:is|was|because|since|as|seems?|fits|matches|and|or|
        would|best|sounds|looks|appears)\b))|(?:选项|選項|選択肢|オプション|보기|옵션)\s*[\"'*(]*([a-z])(?![a-z])
    LETTER_FORM =
        [\s\"'*_$#>-]*(?P<mark>(?:(?:option|choice|letter|answer)\s+)?[(\[{<]\s*|(?:option|choice|
        letter)\s+)?(?P<letter>[a-z])(?P<close>\s*[)\]])?(?:$|[\s.:,?!)\]}>\"'*_$-]+(?P<rest>[^\s\"'*_$.:,)\]}-](?:.|
        \n)*)?)
    CUT_FORM = [\s\"'*_(\[]*(?P<letter>[a-z])[)\]*_]*[.:)]?[\s*_]+(?P<rest>\S(?:.|\n)*)
    LABEL = (?:^|\s)[(\[\"'*]*([a-z])\**(?:[).:\]]|\s-)(?=[\s*]|$)
    OWN_LABEL = \s*(?:[(\[](?P<a>[a-z]|\d{1,2})[)\]][.:]?|(?P<b>[a-z]|\d{1,2})[).:])\s+(?=\S)
    SPEAKER =
        [\s*#>]*(?:assistant|response|reply|output|model|ai|bot|ans|answer|result|label|final answer|
        solution)\s*[*]*\s*:[\s*]*
    COPULA = (?:です|だ|である|でした|입니다|이에요|예요|이다|요)?[.。!]*$
    INITIALS = \.\s*(?-i:[A-Z])\.
    ANOTHER = [\s\"'*(]*(?-i:[B-HJ-Z])\b(?!')

    # What may stand before, beside and after an option that is named outright.
    DRESS = [\s\"'*_#>:{]*
    FILLER =
        (?:[\s\"'*_:>#,]|-(?!\d)|(?:that|it|this|is|was|it's|must|be|most|very|likely|probably|definitely|clearly|
        certainly|simply|just|option|choice|letter|indeed|therefore|actually|either|the|no|rather|instead)\b(?!'))*
    LEAD = {FILLER}(?:an?\s+)?[\"'*(]*
    SUBJECT =
        [\s,:]*(?:that\s+)?(?:it|this|that|he|she|(?:the|this|that)\s+\w+(?:\s+\w+)?)(?:'s|\s+(?:is|was|are|must be|
        has to be|sounds?(?: like)?|seems?(?: to be)?|appears? to be|comes? from|makes|gives|equals|totals|
        adds up to))\b
    BESIDE = [\s.:)\]\"'*(-]*
    SETTLES = [\"'*]*\s*(?:$|[.,;:!?)\]\"'*}<\n。]|(?:because|since|as)\b)
    JOINED =
        [\s\"'()*\]]*(?:,?\s*\b(?:or|and|but|plus|und|oder|ou|et|y|o)\b|[,;/&+]|或|和|또는)(?:\s*(?:maybe|possibly|
        perhaps|else|even|also)\b)*
    REASON = [\"'*]*\s*[,;:(-]*\s*(?:because|since|as|due to|given|based on)\b
    VALUE = \b(?:is|was|are|were|be|about|around|approximately|roughly|exactly)\s+(?:an?\s+)?[\"'*(]*$

    # Sentences, clauses, denials.
    SENTENCE_END = [.!?]+[\"')*\]]*(?=\s|$)|\n+|[。！？]|(?!<(?-i:[A-Z])>\s*(?:\n|$))</?[a-z]+>
    ABBREVIATED = (?:^|[\s(\"'*])(?:[a-z]|dr|mr|mrs|ms|st|vs|e\.g|i\.e)$|(?:^|\n)\s*\d{1,2}$
    CLAUSE =
        [.,;:!?\n。]|\b(?:but|because|so|and (?:is|was|sounds|seems|feels|looks))\b|(?:而是|sondern|sino)|\b(?:that|
        which|who)\s+[^.,;:!?\n]{0,30}?\b(?:not|never|lacks?|fails?)\b[^.,;:!?\n]{0,40}?\s(?:is|was)\b
    DENIAL =
        (?:\b(?:not|never|no|neither|nor|without|cannot|rather than|instead of|as opposed to|unlike|except(?: for)?|
        apart from|aside from|excluding|(?:other|more|less|\w+er) than|similar to|(?:rul(?:e|es|ed|ing)|cross(?:ed|
        ing)?) (?:\w+ )?out|if|whether|unless|otherwise|(?:least|less) likely|lack(?:s|ed|ing)?|fail(?:s|ed|ing)? to|
        nobody|zero|(?:would|might|could) (?:have )?expect(?:ed)?|contradict(?:s|ed|ing)?|
        (?:speaks?|argues?|counts?|evidence) against|(?:inconsistent|incompatible|at odds) with|
        differ(?:s|ed|ent)? from|exclud(?:e|es|ed)|eliminat(?:e|es|ed|ing)|
        discard(?:s|ed|ing)?|reject(?:s|ed|ing)?|dismiss(?:es|ed|ing)?|
        den(?:y|ies|ied)|nothing(?: like)?|none of|(?:all|any|both|some) of the|(?<!no )(?<!a )(?<!little )doubt(?:s|
        ed)?(?: that)?|doubtful|improbable|implausible|unlikely|(?:is|was|are|'s|being|sounds?|seems?) anything but|
        far from|free of|devoid of|absence of|absent|missing|hardly|barely|scarcely|incorrect|wrong|opposite of|
        (?:mistaken?|confused?) (?:it )?(?:for|with)|hard to (?:believe|imagine)|too \w+ (?:for|to be)|nicht|keine?n?|
        kein|aucune?|ningun[oa]?|pas|sin|ohne|sans)\b|n't\b|不是|没有|沒有|并非|並非|不像|(?:^|
        (?<=[.,:\n]\s))(?:identify|determine|count)\b)(?!\s+(?:only|just|(?:a\s+)?doubt|question|else than)\b)
    DENIED_AFTER =
        (?:(?!\b(?:because|and|but|while|since|as|so|or)\b)[^.,;:!?\n]){0,25}?(?:n't\b|
        \bwould (?!be (?:the(?!\s(?:wrong|
        worst|least))|my|(?:clearly |very |quite |most )?(?:correct|right|prominent|dominant|present|audible|
        likely|appropriate|suitable|plausible|fitting|accurate|reasonable))\b|(?:best |most )?(?:fit|match|make)\b
        (?! (?:no|little) sense))|\bma(?:kes?|de) no sense\b|\bat first\b|\bcannot be\b|\bcan be (?=ruled|excluded|
        dismissed|rejected|discarded|eliminated|crossed)|
        \bdoes(?:n't| not) fit|\b(?:fails?|lacks?|ruled out|excluded)\b|\b(?:is|are|was|were|does|do|did|can|could|
        would|has|have|be|been|seems?|sounds?)\s+(?:(?:also|clearly|definitely|very|most|highly|rather|quite|be|been|
        to be|less)\s+){0,2}{OUT}\b)|\s*(?:では(?:ない|ありません|なく)|じゃ(?:ない|ありません)|(?:이|가|은|
        는)?\s*아니|없)
    TAIL = (?:\s*\([^()\n]{0,60}\)|,?\s*(?:and|or|nor)\s+\(?(?-i:[A-Z])\b\)?){0,8}
    JOIN = [\s,)]*(?:or|nor|and)\s+(?:an?|the)?\s*
    LISTED = [\s,]*(?:(?:or|nor|and)\s+)?(?:an?|the)?\s*

    # Phrases that commit.
    ANSWER =
        {ANSWER_WORD}[\s*_\"'`)\]}]*(?:[:=]|[-=]>)|{VERB}{ANSWER_WORD}{ASKED_WORD}(?:\s+[\w'\"(),-]+){0,8}?{IS}|
        \bfinal[\s*_]*:|(?:^|\n)[*_#\s]*(?:final )?answer\s+-\s|(?:^|[\n.!?]\s*)[*_#\s]*(?:ans|selection|selected|
        chosen|pick|verdict|decision|
        prediction)[\s*_]*[:=]|(?:^|[\n.!?;,]\s*)[*_#\s]*correct[\s*_]*:|\"(?:choice|option|answer|response|prediction|label|result|letter|selected\w*|
        final_\w+|correct_\w+)\"\s*:|\bfinal answer\b[\s*_#]*\n|\bconclusion[\s*_]*[:\n]|\\boxed\s*\{(?:\\\w+\{)?|
        答案\s*[是为:]
    ASKED_FOR = (?<!\bi )\b(?:choose|select|pick|find|give)\s+(?:(?:the|your|correct|right|best|most)\s+)*$
    IDLE =
        \s+(?:based|clear|clearly|obvious|evident|correct|right|supported|because|derived|determined|in|on|from|
        impossible|not possible|unavailable)\b
    CORRECT =
        {IS}\s+(?:(?:the|my|final|most|very|likely|probably|clearly|definitely|therefore|thus|only|an?)\s+){0,4}(?:correct|
        answer|right\s+(?:answer|option|choice|one)|(?:best|appropriate|accurate|plausible|suitable|likely|probable|
        fitting|reasonable|only)\s+(?:answer|option|choice|match|fit|one|candidate|description))\b|\s*(?:を選|が正解|
        が答え|是正确|是正確|(?:이|가) (?:정답|맞)|번(?:입니다|이)|ist (?:richtig|korrekt|die richtige)|
        es (?:la )?correct[ao]|est (?:la )?(?:correcte?|bonne))
    CHOSEN =
        \bi(?:'d| would|'ll| will| must)?\s+(?:choose|pick|select|go with|opt for|settle on)\b|(?:^|
        [.!?,;\n(-]\s*)(?:(?:oh|hmm|no|ah|um|sorry|hold on|hang on)[,.!]*\s+){0,2}(?:wait|actually|on second thought|
        correction|scratch that|strike that|i mean|i meant|make (?:that|it)|my mistake|or rather|hold on|
        sorry)\b(?:[\s,.!:-]*\b(?:no|it should be|i meant?|make (?:that|it))\b)*|(?<=[,;.!?-])\s*no,|\b(?:change|revise|
        correct)\w* (?:my answer|it|that|this) to\b|
        \bi (?:first|initially|originally|at first) (?:thought|assumed|believed|guessed|took|suspected)\b
        [^.;:!?\n]{1,60}?\bbut\b|
        \bnot\s+[^.,;:!?\n]{1,40}?(?:,?\s+but(?:\s+(?:rather|
        instead))?\b|[;,]\s*(?:it|that|this)(?:'s| is)\b)|
        \b(?:the|its?|his|her|their)\s+(?:most|best)\s+(?:[\w'-]+\s+){1,8}?(?:is|would be|must be)\b(?:\s+option\b)?|
        {FOREIGN}
    AFFIRMED =
        (?:^|(?<=[.!?\n]\s)|(?<=\n))(?:so,?\s+)?(?:is|was|are)(?:n't)?\s+(?:it|this|that|he|she|the\s+\w+(?:\s+\w+)?)\s+
        (?P<asked>[^.?!\n]{1,200})\?[\"')*]*\s+(?:yes|yeah|yep|correct|indeed|exactly)\b(?=\s*(?:$|[.!\n]|,\s*(?:it|
        that|this|he|she)(?:'s|\s+(?:is|was))\b))
    CONCLUSION =
        (?:^|[.!?,;\n]\s*|\band\s+)(?:so|therefore|thus|hence|in conclusion|to conclude|所以|因此|also|donc|daher)\b
    TOTAL =
        \b(?:(?:for )?a total of|in total,?(?: there (?:are|is|were))?|totall?ing|altogether,?|the total (?:is|
        number is)|adds? up to|(?:that|which) makes)\s+(?={NUMBER}\b)|\b(?={NUMBER}(?:\s+\w+){0,3}\s+(?:in total|
        altogether|in all)\b)
    LEANING =
        \bi(?:'d| would| will|'ll)?\s+(?:think|believe|guess|say|suppose|suspect|reckon)\b|
        \bmy (?:best )?guess(?: is| would be)?\b|\bif i had to (?:guess|choose|pick|answer)\b|
        (?<!least )(?<!less )\b(?:probably|likely|maybe|perhaps|possibly|must be)\b|
        \bit(?:'s| is)(?=\s+\(?(?-i:[A-Z])\b)|\b(?:this|that|which|description|sound)\s+(?:best |most closely |
        clearly |strongly )?(?:corresponds? to|matches|points? to|aligns? with|suggests|indicates|
        is consistent with)\b
    CANNOT_ANSWER = \b(?:answer|respond|reply|help|assist|comply|choose|select|pick|give|provide|make|listen|process)\b
    GUESS = [^.!?\n]*\b(?:if (?:i|we|you|one)(?:\s+\w+){0,2}\s+(?:to|must|choose|guess|pick)|guess(?:es|ing)?)\b
    CONCEDES = \b(?:although|though|yet|still)\s*$
    BUT = [^.!?\n]{0,200}?[.!?]?\s*\b(?:but|however|although|though|yet|still)\b
    """
)
CUES = SimpleNamespace(**{name: re.compile(pattern, re.IGNORECASE) for name, pattern in _TABLE.items()})
