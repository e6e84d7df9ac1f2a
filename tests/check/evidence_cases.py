"""Thirty sentences of summaries, each with the sentence of its document that says it, found by hand."""

from __future__ import annotations

HARBOR = """The harbor of Vell was dredged for the first time in forty years. Two barges lifted 9,000 tons of \
mud between March and June. Fishermen had complained that their boats touched the ground at low tide. The city \
paid for the work with a loan from the regional bank. Mayor Ines Tafel said that the fees for berths would not \
rise. A ferry company from Ostmark now plans to land there twice a day."""
LIBRARY = """Readers of the Corrin library may now borrow seeds as well as books. The librarian, Paul Adeyemi, \
started the collection with twelve kinds of beans. Each packet has a card that tells when to sow and how deep. \
Borrowers are asked to bring back seeds from the best plants in autumn. Last year 340 packets were taken and \
95 were returned. A school in the next valley has asked for help to begin its own."""
TRAIN = """Passengers spent five hours in a stopped train near Halberg on Sunday night. A fallen birch had \
pulled down the overhead line shortly after ten. The heating failed at once and the doors could not be opened. \
Firefighters brought blankets and carried an elderly man to an ambulance. The railway will refund all 210 \
tickets, its spokeswoman Lena Brandt said. Services resumed on one track at six in the morning."""
STUDY = """Researchers in Tromso followed 1,200 night nurses for eleven years. Those who slept at least seven \
hours by day had fewer heart attacks than the others. The effect was strongest in women over fifty. Coffee \
made no difference in either group. The study could not tell whether sleep was the cause, because healthier \
people may sleep better. A trial with blackout curtains will begin in two hospitals next spring."""
CHESS = """The chess club of Minden has moved into an old bakery. Members scraped flour from the beams for \
three weekends. The owner, a retired baker named Oskar Wiehl, asks for no rent as long as they teach his \
grandchildren. On opening night a girl of nine beat the county champion. The club had lost its former room \
when the pub was sold in January. It hopes to host the youth finals in the autumn."""
WATER = """Three villages above the Sarn gorge must boil their water until Friday. Tests on Tuesday found \
bacteria in the upper reservoir. The water board believes that a dead deer in the inlet was the source. \
Chlorine has been added, and a second sample was clean. The clinic in Upper Sarn treated fourteen people for \
stomach cramps. Bottled water is handed out at the fire station from eight to six."""

# (document, sentence of a summary, the beginning of the sentence that it is from)
CASES = (
    (HARBOR, "Barges removed 9,000 tons of mud from March to June.", "Two barges"),
    (HARBOR, "It was the harbor's first dredging in forty years.", "The harbor of Vell"),
    (HARBOR, "Ines Tafel promised that berth fees would stay the same.", "Mayor Ines Tafel"),
    (HARBOR, "The work was financed by a loan.", "The city paid"),
    (HARBOR, "An Ostmark company wants to run two ferries daily.", "A ferry company"),
    (LIBRARY, "The Corrin library lends seeds.", "Readers of the Corrin"),
    (LIBRARY, "Adeyemi began with twelve varieties of bean.", "The librarian"),
    (LIBRARY, "Of 340 packets, 95 came back.", "Last year"),
    (LIBRARY, "In autumn, people should return seeds of their best plants.", "Borrowers"),
    (LIBRARY, "A nearby school wants to do the same.", "A school"),
    (TRAIN, "A train stood still for five hours near Halberg.", "Passengers spent"),
    (TRAIN, "A birch tree had torn the overhead line.", "A fallen birch"),
    (TRAIN, "There was no heating.", "The heating failed"),
    (TRAIN, "An old man was taken to an ambulance by firefighters.", "Firefighters"),
    (TRAIN, "Tickets will be refunded, Lena Brandt said.", "The railway"),
    (STUDY, "The study covered 1,200 nurses over eleven years.", "Researchers"),
    (STUDY, "Nurses who slept seven hours had fewer heart attacks.", "Those who slept"),
    (STUDY, "Women older than fifty gained most.", "The effect"),
    (STUDY, "Coffee did not matter.", "Coffee made"),
    (STUDY, "Hospitals will test blackout curtains in spring.", "A trial"),
    (CHESS, "Minden's chess players now meet in a former bakery.", "The chess club"),
    (CHESS, "Oskar Wiehl charges no rent.", "The owner"),
    (CHESS, "A nine-year-old girl defeated the champion of the county.", "On opening night"),
    (CHESS, "The old room went when the pub was sold.", "The club had lost"),
    (CHESS, "Youth finals may be held there in autumn.", "It hopes"),
    (WATER, "Water must be boiled in three villages until Friday.", "Three villages"),
    (WATER, "Bacteria were found in the upper reservoir on Tuesday.", "Tests on Tuesday"),
    (WATER, "A dead deer is thought to be the source.", "The water board"),
    (WATER, "Fourteen people had stomach cramps.", "The clinic"),
    (WATER, "The fire station gives out bottles of water.", "Bottled water"),
)
