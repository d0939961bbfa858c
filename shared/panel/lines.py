"""What `check` says of the settings, the database and the enterprises, in Russian.

By the names of `shared/operate/lines.py`: what was found, and what helps.
"""

from __future__ import annotations

_BETTER = "Дайте ему секрет из {good} случайных символов или больше"
_OWN_NUMBER = "Дайте каждому свой номер, без пробелов вокруг"

LINES: dict[str, tuple[str, str]] = {
    "DOUBT": ("{doubt}", ""),
    "READ_ON_THE_WAY": ("{said}", "Задайте POSTGRES_TLS=verify и POSTGRES_CA_FILE"),
    "TOLLS": (
        "{off}: у кого секрет предприятия, тот может сделать звонков: {count} за {per_s} с{where}",
        "Задайте, например, {set}",
    ),
    "DATABASE": ("PostgreSQL отвечает, схема callapi на месте", ""),
    "DATABASE_AWAY": ("{said}", "Запустите её или исправьте настройки POSTGRES_*"),
    "SCHEMA": ("{said}", "{remedy}"),
    "ENTERPRISE_UNKNOWN": ("без базы данных не проверить", ""),
    "ONE_PASSWORD": (
        "SSH_PASSWORD открывает хостов: {hosts}; кто взломает один, узнает его",
        "Перейдите на SSH_PRIVATE_KEY, ключ только этого сервиса, и уберите SSH_PASSWORD",
    ),
    "NUMBERS_REFUSED": (
        "активных предприятий с номером {number} без пробелов: {rows}; их запросы отклоняются",
        _OWN_NUMBER,
    ),
    "NUMBERS_MIXED": (
        (
            "активных предприятий с номером {number} без пробелов: {rows}; их звонки и правила"
            " считаются общими"
        ),
        _OWN_NUMBER,
    ),
    "NONE_ACTIVE": ("ни одно не активно", "Поставьте active = true тем, кому можно звонить"),
    "NO_SUCH_NUMBER": ("номера {number} нет", "{nearest}"),
    "ENTERPRISE": ("{number} {name}, ip {ip}, активно", ""),
    "NO_IP": ("{number} {name}, ip не указан", "Впишите в ip адрес его АТС"),
    "NOT_ACTIVE": (
        "{number} {name}, ip {ip}, не активно: его запросы отклоняются",
        "Поставьте active = true, если ему можно звонить",
    ),
    "SECRET_SHARED": (
        "он у нескольких активных предприятий: {holders}; всем им отказано",
        "Дайте каждому свой секрет",
    ),
    "SECRET_ENDED": (
        "он закончился, а другого нет: всем запросам отказано",
        "./asterisk.sh keys {number} add",
    ),
    "SECRET_REFUSED": ("{length}: не принимается (SECRET_MIN)", _BETTER),
    "SECRET_UNUSED": ("{length}: не принимается (SECRET_MIN)", _BETTER),
    "SECRET_WEAK": ("{length}: его можно подобрать", _BETTER),
    "SECRET_IN_URL": (
        "шлют в URL, где его хранят журналы и прокси; запросов: {times}, последний {at}",
        "Пусть шлют его в заголовке `Authorization: Bearer`",
    ),
    "DIALLING_STOPPED": (
        "остановлены оператором",
        "./asterisk.sh rules {number} --dialling on",
    ),
    "NEIGHBOURS": ("считается одной АТС с {named}, по адресу, ключу хоста или Asterisk", ""),
    "NEIGHBOURS_REFUSED": (
        (
            "считается одной АТС с {named}, по адресу, ключу хоста или Asterisk: прослушивание,"
            " переводы, история и состояния внутренних запрещены"
        ),
        (
            "Назовите его внутренние (./asterisk.sh rules {number} --extensions ...); АТС-клонам"
            " нужны свои ключи хоста"
        ),
    ),
}

# What fills gaps, or stands alone; by its English text.
WORDS: dict[str, str] = {
    "settings": "настройки",
    "tolls": "цена секрета",
    "database": "база",
    "schema": "схема",
    "enterprise": "предприятие",
    "password": "пароль",
    "numbers": "номера",
    "secret": "секрет",
    "dialling": "звонки",
    "neighbours": "соседи",
    "name": "имя",
    "port": "порт",
    "host key": "ключ хоста",
    "log-in": "вход",
    "console": "консоль",
    "version": "версия",
    "originate": "originate",
    "channel drivers": "драйверы каналов",
    "dialplan context": "контекст",
    "call records": "записи о звонках",
    "SFTP": "SFTP",
    "records file": "файл записей",
    "disk": "диск",
    "clock": "часы",
    "shell": "оболочка",
    "any step": "любой шаг",
    "There is no enterprise {number}. {told}": "Предприятия {number} нет. {told}",
    "The nearest are {found}": "Ближайшие: {found}",
    "The table has no row": "В таблице нет ни одной строки",
    "{names} is": "Не задан {names}",
    "{names} are": "Не заданы {names}",
    ", to anywhere": ", куда угодно",
    "{figures}, and DESTINATIONS_ALLOWED": "{figures} и DESTINATIONS_ALLOWED",
    "{figures}": "{figures}",
    "{count} characters": "символов: {count}",
    "blank": "пустой",
    "{named} and {more} more": "{named} и ещё {more}",
    "not told": "не сообщена",
    "known by its source, not tried": "известна по исходному коду, не проверена",
    "ahead of": "спешат",
    "behind": "отстают",
    "Set CDR_FILE": "Задайте CDR_FILE",
    "Load Asterisk's module cdr_csv, or set CDR_FILE": (
        "Загрузите модуль Asterisk cdr_csv или задайте CDR_FILE"
    ),
    "Permit it, or set CDR_FILE": "Разрешите это или задайте CDR_FILE",
    "Permit it": "Разрешите это",
    "Set CDR_FILE to cdr_csv's file": "Укажите в CDR_FILE файл cdr_csv",
    "Run ./asterisk.sh migrate": "Выполните ./asterisk.sh migrate",
    "If it was moved, run ./asterisk.sh migrate": (
        "Если её перенесли, выполните ./asterisk.sh migrate"
    ),
    "If it has, run ./asterisk.sh migrate": "Если они есть, выполните ./asterisk.sh migrate",
    **{
        f"tried on a real {run}": f"проверена на настоящей {run}"
        for run in ("11.25", "13.38", "16.28", "22.10")
    },
}
