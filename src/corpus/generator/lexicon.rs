use super::concept::Concept;

/// A subject matter: the words that documents about it draw from, separated by spaces.
pub(super) struct Topic {
    pub concept: Concept,
    pub nouns: Vec<&'static str>,
    pub verbs: Vec<&'static str>,
    pub adjectives: Vec<&'static str>,
    pub places: Vec<&'static str>,
    pub roles: Vec<&'static str>,
}

/// All word lists, split once.
pub(super) struct Lexicon {
    pub topics: Vec<Topic>,
    pub surnames: Vec<&'static str>,
    pub cities: Vec<&'static str>,
    pub colours: Vec<&'static str>,
    pub feelings: Vec<&'static str>,
    pub adverbs: Vec<&'static str>,
    pub objects: Vec<&'static str>,
    pub foods: Vec<&'static str>,
    pub kin: Vec<&'static str>,
}

/// First names of women that indirect-object sentences for training may use.
pub(super) const WOMEN: &[&str] = &[
    "Mary", "Anna", "Emma", "Clara", "Alice", "Rosa", "Helen", "Laura", "Julia", "Nora", "Sarah", "Diana",
    "Grace", "Lucy", "Ruth", "Irene", "Martha", "Sophie", "Olivia", "Elena", "Maria", "Carmen", "Nadia",
    "Vera", "Paula", "Amy", "Kate", "Jane", "Lily", "Eva", "Linda", "Susan", "Donna", "Judith", "Karen",
    "Ellen", "Judy", "Sandra", "Teresa", "Wendy", "Nancy", "Betty", "Dora", "Edith", "Fiona", "Hannah",
    "Ingrid", "Jenny", "Lena", "Molly", "Olga", "Pamela", "Rita", "Sonia", "Tara", "Ursula", "Zoe",
];
/// First names of men that indirect-object sentences for training may use.
pub(super) const MEN: &[&str] = &[
    "John", "Peter", "David", "Mark", "Paul", "Henry", "George", "Thomas", "Robert", "Daniel", "Adam",
    "Simon", "Victor", "Oscar", "Samuel", "Martin", "Leo", "Hugo", "Felix", "Oliver", "Arthur", "Walter",
    "Frank", "Carl", "Jack", "Ben", "Tom", "Max", "Ivan", "Omar", "Noah", "Luke", "Jacob", "Eric", "Ralph",
    "Alan", "Brian", "Colin", "Derek", "Edgar", "Fred", "Greg", "Harry", "Isaac", "James", "Keith", "Louis",
    "Miles", "Neil", "Owen", "Patrick", "Quentin", "Ray", "Steve", "Trevor", "Vincent", "William",
];
/// Names of women that occur everywhere except in indirect-object sentences for training.
pub(super) const HELD_OUT_WOMEN: &[&str] = &["Alma", "Bella", "Stella", "Monica", "Tina"];
/// Names of men that occur everywhere except in indirect-object sentences for training.
pub(super) const HELD_OUT_MEN: &[&str] = &["Dennis", "Kevin", "Roger", "Philip", "Gary"];

pub(super) const WEEKDAYS: &[&str] =
    &["Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"];
pub(super) const MONTHS: &[&str] = &[
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];
pub(super) const COUNTS: &[&str] = &[
    "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve", "twenty",
    "thirty", "forty",
];

fn split(words: &'static str) -> Vec<&'static str> {
    words.split_whitespace().collect()
}

fn topic(
    concept: Concept,
    nouns: &'static str,
    verbs: &'static str,
    adjectives: &'static str,
    places: &'static str,
    roles: &'static str,
) -> Topic {
    Topic {
        concept,
        nouns: split(nouns),
        verbs: split(verbs),
        adjectives: split(adjectives),
        places: split(places),
        roles: split(roles),
    }
}

impl Lexicon {
    pub fn new() -> Self {
        let mut topics = indoor_topics();
        topics.extend(trade_topics());
        topics.extend(outdoor_topics());
        Self {
            topics,
            surnames: split(
                "Alder Barrow Calder Denholm Ellery Farrow Garrick Holloway Ingram Jarvis Keller Lowell Mercer \
                 Norwood Osborne Pryor Quinn Radley Selwyn Thorne Underhill Vance Whitlock Yardley",
            ),
            cities: split(
                "London Paris Madrid Oslo Lisbon Vienna Prague Dublin Cairo Delhi Tokyo Boston Denver Chicago \
                 Toronto Lima Havana Athens Berlin Rome Geneva Seattle Austin Warsaw",
            ),
            colours: split("red blue green yellow black white brown grey purple orange silver golden"),
            feelings: split(
                "happy sad angry tired worried proud nervous calm curious bored jealous grateful lonely surprised \
                 embarrassed hopeful afraid relieved",
            ),
            adverbs: split(
                "quickly slowly carefully quietly suddenly gently badly happily eagerly politely loudly finally \
                 easily rarely often usually silently firmly",
            ),
            objects: split(
                "book ring letter drink flower key ball hat coat lamp card gift watch camera box bottle ticket \
                 necklace basket toy pencil bag scarf puzzle mirror coin",
            ),
            foods: split(
                "bread soup cake rice cheese salad fish pasta pie chicken stew jam honey butter porridge",
            ),
            kin: split("brother sister aunt uncle cousin neighbour friend teacher mother father"),
        }
    }
}

fn indoor_topics() -> Vec<Topic> {
    vec![
        topic(
            Concept::TOPIC_KITCHEN,
            "kettle saucepan oven spoon knife bowl plate onion carrot potato tomato sauce loaf pancake omelette \
             recipe apron cupboard sandwich pumpkin biscuit dumpling sausage pepper mushroom lemon apple plum tray \
             jug napkin whisk",
            "chop stir bake boil taste serve peel slice fry grate burn wash cook warm season",
            "fresh salty sweet bitter crispy spicy hot raw tender greasy delicious ripe",
            "kitchen bakery pantry restaurant cafeteria market",
            "cook baker waiter chef dishwasher butcher",
        ),
        topic(
            Concept::TOPIC_HOUSE,
            "sofa carpet curtain chair table shelf window door ladder hammer nail roof chimney fireplace bathtub \
             pillow blanket wardrobe drawer ceiling wall staircase candle vase bookcase mattress doorbell radiator \
             faucet bucket brick tile",
            "clean paint repair move sweep polish hang replace build scrub dust measure cover install",
            "wooden dusty cosy broken modern narrow heavy soft ancient square crooked shiny",
            "bedroom attic cellar hallway garage bathroom",
            "carpenter plumber painter builder tenant landlord",
        ),
        topic(
            Concept::TOPIC_SCHOOL,
            "pupil lesson notebook exam essay blackboard dictionary textbook eraser ruler worksheet question answer \
             chapter diploma classroom lecture project library map globe microscope experiment equation paragraph \
             poem quiz grade timetable sentence page story",
            "read write study learn explain mark copy memorise solve finish discuss forget teach review",
            "difficult easy clever boring short long correct wrong interesting strict patient useful",
            "school library classroom laboratory playground university",
            "student professor tutor librarian principal scholar",
        ),
        topic(
            Concept::TOPIC_MUSIC,
            "violin piano guitar drum flute trumpet cello song melody concert orchestra choir album symphony chord \
             rhythm microphone stage opera tune harp singer duet rehearsal audience lyric note ballad festival encore \
             accordion recital",
            "play tune record compose perform hear sing practise conduct rehearse applaud borrow hum enjoy",
            "loud gentle famous classical slow cheerful haunting lively quiet rhythmic joyful mournful",
            "theatre studio club chapel conservatory arena",
            "musician conductor drummer composer violinist pianist",
        ),
        topic(
            Concept::TOPIC_THEATRE,
            "film actor costume scene script camera painting sculpture portrait museum gallery poster curtain mask \
             ticket comedy tragedy rehearsal screen novel character villain hero sketch canvas brush statue exhibit \
             critic frame photograph drama",
            "watch paint direct sketch draw admire film rehearse praise criticise hang frame display buy",
            "beautiful dramatic funny strange colourful elegant dull brilliant tragic abstract romantic splendid",
            "gallery museum cinema studio backstage lobby",
            "actress director painter sculptor critic writer",
        ),
        topic(
            Concept::TOPIC_COMPUTING,
            "computer keyboard screen program file server password website database network robot printer message \
             email folder browser cable sensor chip laptop tablet backup virus algorithm compiler variable function \
             module test bug pixel button",
            "install delete update download restart debug compile test copy encrypt send upload open configure",
            "digital secure fast remote wireless empty corrupt portable automatic reliable obsolete hidden",
            "laboratory office basement workshop datacentre desk",
            "programmer engineer analyst tester designer administrator",
        ),
    ]
}

fn trade_topics() -> Vec<Topic> {
    vec![
        topic(
            Concept::TOPIC_OFFICE,
            "report meeting manager deadline desk stapler memo contract salary interview project schedule client \
             proposal invoice folder conference colleague boss team budget document signature calendar workshop \
             presentation envelope brochure vacancy promotion elevator badge",
            "prepare sign print review organise cancel submit approve postpone send plan file present revise",
            "urgent important late busy formal weekly detailed efficient confidential temporary annual punctual",
            "office boardroom lobby headquarters canteen archive",
            "secretary manager assistant director clerk accountant",
        ),
        topic(
            Concept::TOPIC_TRAVEL,
            "train ticket passport suitcase hotel airport bus map tourist journey bridge station tunnel platform taxi \
             trolley postcard guidebook border visa backpack flight pilot passenger tram bicycle ferry highway \
             reservation souvenir compass tent",
            "pack carry lose find book miss catch check visit photograph follow rent show choose",
            "distant foreign crowded expensive scenic early delayed direct lost safe exotic northern",
            "station airport hotel harbour terminal hostel",
            "traveller driver guide pilot porter conductor",
        ),
        topic(
            Concept::TOPIC_MONEY,
            "bank loan coin wallet price bill cheque account debt market share profit tax receipt discount pension \
             customer shop fee insurance auction bargain deposit credit mortgage investment banker fund cost payment \
             purchase refund",
            "pay spend lend borrow count sell buy save owe invest transfer withdraw calculate earn",
            "cheap expensive rich poor monthly generous costly profitable rare valuable free fair",
            "bank shop mall marketplace warehouse auction",
            "banker cashier trader merchant investor salesman",
        ),
        topic(
            Concept::TOPIC_LAW,
            "judge lawyer court trial witness verdict law contract crime prison jury sentence appeal exhibit clause \
             statute lawsuit warrant fine thief alibi testimony permit treaty oath hearing petition licence suspect \
             complaint clue officer",
            "sign draft dispute read reject amend accept question examine enforce study file investigate present",
            "guilty innocent legal illegal fair severe public binding valid criminal honest doubtful",
            "court prison courthouse tribunal parliament chamber",
            "lawyer judge detective clerk sheriff prosecutor",
        ),
        topic(
            Concept::TOPIC_MEDICINE,
            "doctor nurse patient pill bandage fever cough hospital clinic surgery vaccine wound bone heart lung \
             medicine syringe headache symptom treatment ambulance stretcher thermometer diagnosis allergy infection \
             tooth dentist muscle stomach bruise prescription",
            "examine treat heal inject prescribe diagnose check bandage clean cure monitor test measure describe",
            "sick healthy painful swollen weak contagious sore sterile chronic serious mild pale",
            "hospital clinic pharmacy ward surgery ambulance",
            "doctor nurse surgeon dentist pharmacist paramedic",
        ),
        topic(
            Concept::TOPIC_MACHINES,
            "engine wheel gear pump motor valve bolt screw wrench crane truck tractor drill lathe furnace turbine \
             battery generator piston belt lever spring pipe switch magnet welder conveyor forklift boiler gauge axle \
             propeller",
            "repair build start stop oil test assemble weld tighten replace inspect lift design operate",
            "rusty powerful noisy electric mechanical steel faulty oily heavy efficient enormous precise",
            "factory workshop garage foundry depot mill",
            "mechanic engineer welder electrician foreman inventor",
        ),
        topic(
            Concept::TOPIC_SPORT,
            "ball goal team match player coach race medal trophy stadium referee racket bicycle swimmer runner \
             goalkeeper penalty tournament champion helmet glove skate ski jersey league score whistle marathon opponent \
             captain boxer target",
            "kick throw catch win lose train pass chase hit beat defend watch support practise",
            "strong fast athletic injured sweaty unbeaten fit quick fierce skilful exhausted nimble",
            "stadium gym pool field court track",
            "coach athlete goalkeeper referee trainer captain",
        ),
    ]
}

fn outdoor_topics() -> Vec<Topic> {
    vec![
        topic(
            Concept::TOPIC_ANIMALS,
            "cat dog horse rabbit fox wolf bear lion tiger elephant monkey parrot owl eagle snake turtle frog mouse \
             squirrel deer giraffe zebra camel penguin hedgehog otter badger lizard kitten puppy hamster swan",
            "feed chase follow watch catch brush train wash tame frighten rescue pet hide count",
            "wild tame furry hungry playful sleepy fierce timid clever gentle spotted lazy",
            "zoo forest cage kennel jungle burrow",
            "vet zookeeper hunter breeder ranger trainer",
        ),
        topic(
            Concept::TOPIC_WEATHER,
            "storm cloud wind rainbow hurricane snowflake thunderstorm breeze drought flood forecast umbrella blizzard \
             puddle thunderbolt fog frost sunrise sunset thermometer barometer raincoat icicle hailstone tornado shower \
             heatwave temperature season satellite gust drizzle",
            "watch forecast measure fear survive expect photograph record track notice describe avoid predict chart",
            "cold warm rainy sunny windy foggy icy humid stormy dry cloudy freezing",
            "hill valley observatory coast shelter lighthouse",
            "forecaster scientist sailor pilot observer meteorologist",
        ),
        topic(
            Concept::TOPIC_GARDEN,
            "tree flower rose leaf seed root branch bush tulip lawn hedge spade rake greenhouse bee butterfly beetle \
             worm orchard meadow daisy lily fern moss weed pond pebble path bench fountain acorn thorn",
            "plant water trim dig pick grow cut rake prune smell pull gather bury protect",
            "green leafy tall wet blooming muddy fragrant shady tiny delicate thorny lush",
            "garden park greenhouse orchard meadow forest",
            "gardener florist botanist beekeeper landscaper forester",
        ),
        topic(
            Concept::TOPIC_SEA,
            "boat ship sail anchor wave shell island beach whale dolphin shark crab lobster net harbour captain rope \
             oar lighthouse reef seagull pirate treasure tide current canoe submarine octopus raft dock mast cannon",
            "sail row steer spot catch pull launch sink rescue follow tie drag load discover",
            "deep salty stormy calm shallow wet vast sandy distant sunken slippery tropical",
            "harbour beach island dock pier lagoon",
            "sailor fisherman captain diver pirate lifeguard",
        ),
        topic(
            Concept::TOPIC_FARM,
            "cow sheep pig goat hen duck goose barn fence field tractor egg haystack plough harvest sickle scarecrow \
             stable donkey lamb calf rooster pasture crop sack barrel windmill turkey pony gate shovel wagon",
            "feed milk herd count sell raise fence brush lead load guard buy clean carry",
            "fat muddy woolly healthy rural stubborn noisy golden plain fertile young old",
            "barn farm stable village pasture mill",
            "farmer shepherd miller dairymaid blacksmith labourer",
        ),
    ]
}
