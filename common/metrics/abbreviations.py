"""Words that a full stop may follow inside a sentence, and words that like to open one, by language.

Each list is lower-cased and without the last full stop. Knows nothing of how they are used; `sentences` does.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, cached_property


@dataclass(frozen=True)
class Abbreviations:
    """The lists of one language.

    never_last      before a name or an explanation
    titles          such words of other languages too, where they are capitalized in the text
    before_number   an abbreviation only where a number follows
    list_end        ends a sentence where a capital follows: `etc.`
    maybe_last      ends a sentence only where a word that likes to open one follows
    openers         such words
    ordinals        whether a number with a full stop is an ordinal (`3. Mai`)
    before_ordinal  words that an ordinal follows; empty where any word may stand there
    after_ordinal   words that always follow one: months, centuries
    """

    never_last: frozenset[str]
    titles: frozenset[str]
    before_number: frozenset[str]
    list_end: frozenset[str]
    maybe_last: frozenset[str]
    openers: frozenset[str]
    ordinals: bool = False
    before_ordinal: frozenset[str] = frozenset()
    after_ordinal: frozenset[str] = frozenset()

    @cached_property
    def every(self) -> frozenset[str]:
        """All abbreviations."""
        return self.never_last | self.before_number | self.list_end | self.maybe_last


_NEVER_LAST = {
    "": "dr prof",
    "en": "mr mrs ms messrs mx sen rep gov gen col lt capt cmdr sgt maj rev hon supt mt ft vs v e.g i.e cf viz "
    "fr br rt.hon gen-lt assoc asst",
    "id": "ir drs dra drg bpk sdr sdri yth ny tn nn jl jln gg kh k.h h hj r.a r.m r.ng a.n u.p d.a s.d kab kec "
    "kel ds kep prov kol letkol inf kav art zeni mayjen brigjen jend kapt lettu kompol akbp ak mr mrs "
    "univ bt bin rp pt cv sda",
    "es": "a sr sra srta sres dra d dña da ud uds vd vds prof profa gral cnel lic ing arq av avda c p.ej p ej "
    "excmo excma mons fr sto sta ee",
    "fr": "m mm mr mgr me pr st ste cf p.ex p ex env av j.-c boul bd chap dir gal col cdt lt sgt",
    "de": "hr hrn fr frl fa fam gebr z.b z b d.h d h u.a u i.d.r i o.g o s.o s.u s bzw vgl ca evtl ggf inkl "
    "exkl sog geb gest verh dipl-ing dipl ing med phil jur rer nat c v hl zzgl abzgl lt gem insb bes ehem "
    "einschl entspr m m.e e.g hrsg ges österr dt engl frz lat i.a i.v o.ä.d mag min.-präs gen kap",
    "pt": "sr sra srs srta dra d da profa eng arq exmo exma v ex p.ex p av r pç gen cel cap ten sto sta mons",
    "it": "sig sig.ra sigg sig.na dott dott.ssa prof.ssa ing avv arch geom rag on sen mons p.es per es cfr v s "
    "sec ca gen col cap dr.ssa spett egr gent.mo rev",
    "nl": "dhr mevr mw mej drs ir ing mr ds bijv d.w.z d.i o.a m.n t.a.v i.v.m m.b.t t.o.v a.d.h.v i.p.v z.g ca "
    "resp incl excl nl evt m.a.w t.n.v st gen kol prof.dr ev",
    "tr": "doç yrd av sn bkz örn op uzm gen alb yzb hz mah cad sok blv apt dr.öğr öğr gör arş t.c m.ö m.s a.ş ltd.şti",
    "ru": "т.е т е т.н т.к т.д.и им ул пр пл пер наб проф акад доц инж ген полк св см ср напр англ нем фр лат "
    "гр г-н г-жа обл р-н пос дер о оз р ст",
    "ar": "د أ م أ.د ا.د د.أ ص.ب ق.م ب.م م.م ش ق.ب",
    "hi": "डॉ डा प्रो पं श्री श्रीमती कु मि रु रू कि कि.मी मी सं.रा ए बी सी डी ई एफ जी एच आई जे के.जे एल एम एन "
    "ओ पी क्यू आर एस टी यू वी डब्ल्यू एक्स वाई जेड ले कै जन",
}
_BEFORE_NUMBER = {
    "": "no nr fig figs tab p pp vol art cap ch par §",
    "en": "nos eq eqs eqn sec ref refs c ca pt",
    "id": "hlm hal tgl gbr bab ps pkl jml tlp telp",
    "es": "pág págs núm núms n.º nº tomo t cap apdo tel",
    "fr": "n° al § chap pag t",
    "de": "abs abb bd s seite ziff rn tel kap anm lfd az anl fn nrn b",
    "pt": "pág págs n n.º nº tel inc al",
    "it": "pag pagg n nn cap comma tel",
    "nl": "blz pag afb tel hfst lid",
    "tr": "s şek ss tel cilt c md bl",
    "ru": "стр д кв корп с рис табл гл п пп ст т № тел разд",
    "ar": "ص ج ت رقم هـ",
    "hi": "सं नं पृ क्र",
}
_LIST_END = {
    "": "etc",
    "id": "dll dsb dst tbk",
    "de": "usw usf",
    "it": "ecc",
    "nl": "enz",
    "tr": "vb vd vs",
    "ru": "т.д т.п д п др пр",
    "ar": "إلخ الخ",
}
_MAYBE_LAST = {
    "": "st",
    "en": "inc ltd co corp jr sr bros al a.m p.m ph.d b.sc m.sc d.c u.s u.k u.n u.s.a dept univ est approx jan "
    "feb mar apr jun jul aug sep sept oct nov dec mon tue tues wed thu thur thurs fri sat sun ave blvd rd "
    "st hwy hr hrs mos",
    "id": "ltd s.h m.h s.e m.m m.si s.pd m.pd s.t m.t s.sos s.ag sp.og ph.d b.a m.a m.sc jan feb mar apr jun "
    "jul agt agu sep okt nov des yg",
    "es": "ee.uu uu a.m p.m m a.c d.c c s.a s.l s.a.s cía ltda dtor aprox ene feb abr jun jul ago sept oct nov dic",
    "fr": "c s.a s.a.r.l janv févr avr juil sept oct nov déc",
    "de": "u.ä o.ä mio mrd tsd jh jhd jan febr feb apr aug sept sep okt nov dez str mo di mi do sa so co e.v "
    "a.d chr n.chr v.chr std min sek vorm nachm uhr kg ff",
    "pt": "s.a ltda cia a.c d.c a.m p.m aprox jan fev mar abr jun jul ago set out nov dez",
    "it": "s.p.a s.r.l s.n.c a.c d.c gen feb mar apr giu lug ago set ott nov dic",
    "nl": "b.v n.v v.chr n.chr jl a.s jr sr jan febr apr aug sept okt nov dec",
    "tr": "yy ltd şti a.ş oca şub mar nis haz tem ağu eyl eki kas ara",
    "ru": "г гг в вв руб коп млн млрд трлн тыс экз чел янв февр апр авг сент окт нояб дек до.н.э н.э",
    "ar": "هـ م.ق",
}
_OPENERS = {
    "en": "the a an he she it they we you i this that these those there here his her its their our my but and "
    "or so if when while although after before in on at for as from with however also then what who how "
    "why where meanwhile nobody no both some many most all another by to",
    "id": "ia mereka dia kami kita saya itu ini namun tetapi tapi di pada dan untuk dalam setelah saat jika "
    "kini lalu menurut sebagai semua tidak adapun sementara selain karena",
    "es": "el la los las un una él ella ellos ellas en y pero no si es este esta estos estas esto su sus se lo "
    "al por para con cuando como luego después entonces nadie había hay yo",
    "fr": "le la les un une il elle ils elles on nous vous je ce cette ces cela c'est en dans et mais si son sa "
    "ses leur pour par avec après puis personne à au l l' d'après y selon",
    "de": "der die das den dem des ein eine einen er sie es wir ihr ich in im am und aber doch wenn so dies "
    "diese dieser dieses sein seine ihre für mit nach auf bei zu zum danach dann dort hier niemand alle "
    "erst später als wer was wo einige viele beide daher da damit auch man bitte",
    "pt": "o a os as um uma ele ela eles elas em no na e mas se é este esta isso seu sua por para com quando "
    "como depois então ninguém há eu não nós ali",
    "it": "il lo la i gli le un una lui lei egli essi in e ma se è questo questa suo sua per con quando come "
    "poi dopo nessuno c'è non lì ci si",
    "nl": "de het een hij zij ze wij we ik in en maar als dit dat deze die zijn haar hun voor met na op bij "
    "daarna toen er niemand daar wie ook",
    "tr": "bu şu o ve ama ancak bir biz siz onlar ben sonra fakat bunun bunu kimse herkes orada daha her",
    "ru": "он она оно они мы вы я в во на и но а это этот эта эти по с со из за для после потом теперь там "
    "тогда когда если его её их никто как что кто тут у при до",
    "hi": "वह यह वे ये उसने उन्होंने इस उस हम मैं और लेकिन पर फिर बाद",
    "ar": "هو هي هم كان كانت هذا هذه ذلك ثم لكن وقد قال قالت في بعد لم",
}
_ORDINALS = {
    "de": "der die das den dem des im am zum zur beim vom bis ab seit und oder sowie ein eine einen einem einer "
    "kein sein ihr ihren ihrem seinen seinem dieser jeder dritten zweiten ersten ins auf an in bereits v",
    "tr": "",
    "da": "den det de af og til fra",
    "no": "den det de av og til fra",
    "fi": "",
    "cs": "",
    "pl": "",
    "hu": "",
}
_AFTER_ORDINAL = {
    "de": "januar jänner februar märz april mai juni juli august september oktober november dezember "
    "jahrhundert jahrtausend stock platz preis weltkrieg kapitel auflage klasse liga mal",
}


@cache
def abbreviations(language: str) -> Abbreviations:
    """The lists of a language; of all languages together where it has none here."""
    return Abbreviations(
        _words(_NEVER_LAST, language),
        frozenset() if language == "de" else _words(_NEVER_LAST, ""),
        _words(_BEFORE_NUMBER, language),
        _words(_LIST_END, language),
        _words(_MAYBE_LAST, language),
        _words(_OPENERS, language),
        language in _ORDINALS,
        frozenset(_ORDINALS.get(language, "").split()),
        frozenset(_AFTER_ORDINAL.get(language, "").split()),
    )


def _words(lists: dict[str, str], language: str) -> frozenset[str]:
    chosen = [lists.get("", ""), lists[language]] if language and language in lists else lists.values()
    return frozenset(word for words in chosen for word in words.split())
