//! Registers of running text: narration, dialogue, letters, exposition.

use super::scene::Scene;

const OPENINGS: &[&str] = &[
    "On {weekday#d} morning {A} <walked|drove|hurried|cycled> to the {place#p} to meet {B}. ",
    "{A} was {a adj} {A.role} who lived in {A.city} with {A.his} {kin#k} {B}. ",
    "It was {a adj#day} {weekday#d} in {month}, and {A} had {a x.adj} {x} to {x.v}. ",
    "Every {month#m}, {A} and {B} met at the {place#p} in {A.city}. ",
    "When {A} was {count#n} years old, {A.his} {kin#k} gave {A.him} {a x.adj} {x}. ",
    "Long ago, in {A.city}, there lived {a A.role} called {A}. ",
    "{A} had never seen {a x} before {A.he} met {B} at the {place#p}. ",
    "Nobody in {A.city} knew why {A} always kept {count#n} {x.s} in the {x.place}. ",
    "At {clock#t} {A} opened the door of the {place#p} and found {a x.adj} {x}. ",
    "In {year#y}, {A} left {A.city} and became {a A.role}. ",
    "Of all the {x.s} in the {x.place}, {A} liked the {colour#c} one best. ",
    "{A}, {B} and {C} worked at the same {place#p} in {A.city}. ",
];

const EVENTS: &[&str] = &[
    "{S} {x.ved} the {x.adj} {x} and put it back in the {x.place}. ",
    "{S} wanted to {x.v} the {x}, but {O} <had taken it to the {x.place}|was not ready|did not agree>. ",
    "Then {S} asked {O} to {y.v} the {y}. ",
    "{S} gave the {colour#c} {object#o} to {O}, and {O} thanked {S.him}. ",
    "While {S} was {x.ving} the {x}, {O} {y.ved} the {y}. ",
    "The {x} in the {x.place} was {x.adj}, so {S} {x.ved} it {adverb}. ",
    "{S} looked for the {y} in the {place}, but it was in the {y.place}. ",
    "\"The {x} is too {x.adj},\" said {S}. ",
    "The {noun.s} near the {x} were {adj}. ",
    "The {x} near the {noun.s} was still {x.adj}. ",
    "Neither of the {noun.s} was {adj}, but both of the {y.s} were {y.adj}. ",
    "There were {count#n} {y.s} in the {y.place}, and all of them were {y.adj}. ",
    "{S} felt {feeling} because {O} had {y.ven} the {y}. ",
    "{S} hurt {S.self} while {S.he} was {z.ving} the {z}. ",
    "{S} told {O} about the {z} that {S.he} had {z.ven} in {S.city}. ",
    "{S}, who was {a S.role}, never {z.ved} {a z} without {S.his} {kin#k}. ",
    "The {S.role} from {S.city} smiled at {O}. ",
    "{S} carried the {y} from the {y.place} to the {x.place} and {y.ved} it there. ",
    "After lunch, {S} and {O} {verb.ed} the {noun.s} in the {place}. ",
    "{S} counted the {x.s}: there were {count#n} of them. ",
    "{^a noun} and {a noun} stood beside the {x.adj} {x}. ",
    "{S} {adverb#h} {verb.ed} the {noun} and then {adverb#h} {verb.ed} the {noun}. ",
    "No one had {x.ven} the {x} since {month#m}. ",
    "If {O} had not {z.ven} the {z}, {S} would have {z.ven} it {S.self}. ",
    "{S} put the {object#o} under the {y} and waited for {O}. ",
    "Soon the {x.adj} {x}, the {y.adj} {y} and the {z.adj} {z} were all in the {place#p}. ",
    "{S} <ate|cooked|wanted|shared> some {food#f} and offered {O} the rest of the {food#f}. ",
    "It was not the {y} but the {z} that {S} had {z.ven}. ",
    "{S} <liked|loved|hated|missed> {x.ving} {x.s}, and so did {O}. ",
    "Every {role} in {S.city} knew that {S} could {x.v} {a x}. ",
    "The {z}, which {S} had {z.ven} on {weekday#d}, was {z.adj} again. ",
    "\"Where is my {object#o}?\" asked {S}. \"In the {x.place}, near the {x},\" {O} answered. ",
    "Although the {y} was {y.adj}, {S} decided to {y.v} it before {clock#t}. ",
    "{S} and {O} argued about the {z}: {S} wanted to {z.v} it, and {O} did not. ",
    "{S} and {O} played a game: {S} won, and {O} lost. ",
    "{O} and {S} were at the {place}, but {S} left early, and {O} stayed. ",
    "{S} and {O} both wanted the {y}. {S} {y.ved} it first, and then {O} {y.ved} it. ",
    "{O} and {S} took the bus. {S} was {feeling}, but {O} was not. ",
    "Between {S} and {O} stood {a noun}; {S} {verb.ed} it while {O} watched. ",
    "Neither {O} nor {S} spoke. In the end {S} laughed, and {O} laughed too. ",
    "After {S} and {O} had left, {S} forgot the {object#o}, but {O} did not. ",
    "Because {O} and {S} were {feeling}, {S} sat down, and {O} opened the door. ",
    "Outside, {a adj} {role} was {verb.ing} {a noun}. ",
    "Both {S} and {O} were {feeling#g}. ",
    "{S} was {feeling}, but {O} was only {feeling}. ",
    "The {x.s} were {x.adj} and the {y.s} were {y.adj}. ",
    "{S} remembered the {place#p} in {S.city}, where {S.he} had first {x.ven} {a x}. ",
    "{S} paid {price#c} for the {y}, although the {y} was {y.adj}. ",
    "One of the {noun.s} was {adj}; the others were not. ",
    "At {clock}, {S} came back with {a z.adj} {z} and {count} {noun.s}. ",
];

const CLOSINGS: &[&str] = &[
    "In the end, {A} went home to {A.city} with the {x.adj} {x}.",
    "By the evening, the {x} was back in the {x.place} and {A} was {feeling}.",
    "After that, {A} and {B} {x.ved} the {x} together every {weekday#d}.",
    "{A} never {x.ved} the {x} again.",
    "And that is how {A} the {A.role} lost the {colour#c} {object#o}.",
    "\"Thank you, {B},\" said {A}, and {A.he} closed the door of the {place#p}.",
];

/// A story.
pub(super) fn narration(scene: &mut Scene<'_>, words: usize) {
    scene.tell_between(0, 1, OPENINGS);
    scene.tell(EVENTS);
    while scene.writer.words() + 15 < words {
        scene.tell(EVENTS);
        if scene.stream.chance(0.08) {
            scene.push("\n\n", &[]);
        }
    }
    scene.tell_between(0, 1, CLOSINGS);
}

const TURNS: &[&str] = &[
    "\"I can't find the {x},\" {S} said. \"Isn't it in the {x.place}?\"\n",
    "\"Don't {x.v} the {x}, {O}! It's {x.adj},\" {S} said.\n",
    "\"I'm {feeling} today,\" said {S}. \"I've {y.ven} the {y} since {clock#t}.\"\n",
    "\"You're right, {O}. We shouldn't {y.v} the {y}.\"\n",
    "\"Who's {x.ving} the {x}?\" asked {S}.\n",
    "\"It isn't me,\" said {S}. \"I don't even have {a x}.\"\n",
    "\"Haven't you {z.ven} the {z} yet, {O}?\" {S} asked {adverb}.\n",
    "\"No, I haven't,\" {O} answered. \"I'll {z.v} it on {weekday#d}.\"\n",
    "\"Let's go to the {place#p}. {C}'s waiting for us with the {object#o}.\"\n",
    "\"That's {C}'s {object#o}, not {S}'s,\" {O} said.\n",
    "\"They won't {verb} the {noun.s}, will they?\"\n",
    "\"They're {adj}, aren't they?\" {S} whispered.\n",
    "\"Of course they are,\" said {O}. \"I'd never {verb} {a adj} {noun}.\"\n",
    "\"Didn't {C} live in {C.city}?\" \"Yes, {C.he} was {a C.role} in {C.city}.\"\n",
    "\"We've got {count#n} {x.s}, but we couldn't {x.v} them all,\" {S} explained.\n",
    "\"What's in the {y.place}?\" \"{^a y}, {O}. It's my {kin#k}'s {y}.\"\n",
    "\"It wasn't {price#c}, it was free,\" {S} said. \"You weren't there.\"\n",
    "\"How do you {z.v} {a z}?\" \"You {z.v} it {adverb#h}, that's all.\"\n",
    "\"I wouldn't do that, {O},\" said {S}, and {S.he} {x.ved} the {x} {S.self}.\n",
    "{S} shook {S.his} head. \"There's no {y} in the {y.place}.\"\n",
    "{O} laughed. \"Then where's the {y.adj} {y}?\"\n",
    "\"Please, {O}, <give|show|bring> me the {z}.\" {O} <gave|showed|brought> {S.him} the {z.adj} {z}.\n",
    "\"Hello, {O}! How's your {kin#k}?\" \"My {kin#k}'s {feeling}, thanks.\"\n",
    "\"What time is it, {O}?\" \"It's {clock#t}.\" \"Then we'll be late!\"\n",
    "\"Why can't I {x.v} the {x}?\" asked {S}. \"Because it's {C}'s {x},\" said {O}.\n",
    "\"I think {C}'s {feeling#g},\" said {S}. \"{^C.he} doesn't {z.v} the {z} any more.\"\n",
    "\"See you on {weekday#d}, {O}!\" \"Goodbye, {S}!\"\n",
];

/// Two people talking, turn by turn.
pub(super) fn dialogue(scene: &mut Scene<'_>, words: usize) {
    scene.tell_between(
        0,
        1,
        &[
            "{A} met {B} in front of the {place#p}.\n",
            "{A} and {B} sat beside the {x}.\n",
            "It was {clock#t} when {A} called {B} about the {x}.\n",
        ],
    );
    let mut speaker = 0;
    scene.tell_between(0, 1, TURNS);
    while scene.writer.words() + 12 < words {
        speaker = 1 - speaker;
        scene.tell_between(speaker, 1 - speaker, TURNS);
    }
}

const LETTER_LINES: &[&str] = &[
    "Thank you for the {x.adj} {x} that you sent me in {month}. ",
    "I am writing to you about the {x}, which I {x.ved} on {weekday#d}. ",
    "We are all {feeling#g} here in {A.city}, and your {kin#k} is {feeling#g} too. ",
    "Could you please send me {count#n} {y.s} before {month#m} {day#e}? ",
    "The {y} costs {price#c}, and I have enclosed {price#c} with this letter. ",
    "I will arrive in {B.city} at {clock#t} on {weekday#d}. ",
    "Please bring the {object#o} to the {place#p}, and do not forget the {y}. ",
    "{C} still lives in {C.city} and works as {a C.role}. ",
    "{C} asked me to tell you that {C.his} {z} is {z.adj} again. ",
    "I hope that you will {z.v} the {z} soon. ",
    "It has been {count#n} weeks since we {x.ved} the {x} together in {B.city}. ",
    "Our new {role} does not {y.v} the {y.s} as well as you did. ",
    "I remember how you {adverb} {z.ved} the {z} when we were young. ",
    "If you cannot {x.v} the {x}, then please write to {C} in {C.city}. ",
    "The {noun.s} in the {place} are {adj}, but the {noun} is not. ",
    "Every evening I eat {food#f} with {C} and talk about the {x.s}. ",
];

/// A letter: heading, greeting, body, close, each fact kept to the signature.
pub(super) fn letter(scene: &mut Scene<'_>, words: usize) {
    scene.expand("{A.city}, {month#m} {day#e}, {year#y}\n\nDear {B},\n\n");
    while scene.writer.words() + 18 < words {
        scene.tell_between(0, 1, LETTER_LINES);
        if scene.stream.chance(0.15) {
            scene.push("\n\n", &[]);
        }
    }
    if !scene.writer.at_line_start() {
        scene.push("\n\n", &[]);
    }
    scene.expand("<Yours sincerely|With love|Best wishes|Kind regards>,\n{A} {surname}<\n\nP.S. Say hello to {C} from me.|>");
}

const CLAIMS: &[&str] = &[
    "{^a x} is {a x.adj} <tool|thing|object> that <every|a good> {role#r} needs. ",
    "Most {role#r.s} {x.v} their {x.s} in the {x.place}. ",
    "A good {role#r} {x.vs} the {x} every {weekday#d}. ",
    "{^x.s} are usually {x.adj}, but {y.s} are often {y.adj}. ",
    "Unlike {a x}, {a y} is kept in the {y.place}. ",
    "The {y} beside the {x.s} is {y.adj}; the {x.s} beside the {y} are {x.adj}. ",
    "In {city#w}, {role#r.s} {y.v} {count#n} {y.s} each year. ",
    "Since {year#y}, the number of {x.s} in {city#w} has <grown|fallen> by {int#i} percent. ",
    "Some people think that {x.s} are {adj}. They are not: {x.s} are {x.adj}. ",
    "To {z.v} {a z}, the {role#r} needs {a y} and {a x}. ",
    "{^a role#r} who {z.vs} the {z} must also {x.v} the {x}. ",
    "The {z} that the {role#r.s} {z.v} is {z.adj}. ",
    "The {z.s} that the {role#r} {z.vs} are {z.adj}. ",
    "{^z.s} do not need {noun.s}, and {noun.s} do not need {z.s}. ",
    "Each of the {role#r.s} has {a adj} {noun}. ",
    "All of the {x.s} were {x.ven} by hand until {year#y}. ",
    "There is {a noun} in every {place}, and there are {noun.s} in every {place}. ",
    "{^a z.adj} {z} is worth {price#c}, but {a adj} one is worth only {price}. ",
    "The first {x} was <shown|sold|used> in {city#w} in {year#y}. ",
    "According to {A}, {a A.role} from {A.city}, {x.s} are <better|worse> than {y.s}. ",
    "{A} says that {A.he} has never {x.ven} {a x.adj} {x}. ",
    "When the {x} is {x.adj}, the {y} becomes {y.adj}. ",
    "Which is more {x.adj}, the {x} or the {y}? Most {role#r.s} choose the {x}. ",
];

/// Facts about the things of a topic.
pub(super) fn exposition(scene: &mut Scene<'_>, words: usize) {
    scene.expand("<The {x}|On {x.s}|{^x.s} and {y.s}|About {x.s}>\n\n");
    while scene.writer.words() + 12 < words {
        scene.tell_between(0, 1, CLAIMS);
        if scene.stream.chance(0.12) {
            scene.push("\n\n", &[]);
        }
    }
}
