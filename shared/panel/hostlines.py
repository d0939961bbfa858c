"""What `check` says of a PBX, in Russian: by the names of `shared/operate/hostlines.py`."""

from __future__ import annotations

_FORGET = (
    "Если АТС действительно переустановили, ./asterisk.sh forget-host-key {host}; если нет,"
    " узнайте, кто отвечает вместо неё"
)
_LET_OPEN = (
    "Дайте SSH_USER его открывать: в asterisk.conf [files] astctlpermissions=0660 и astctlgroup,"
    " группа пользователя самого Asterisk, и SSH_USER в ней; или пусть ASTERISK_COMMAND идёт через"
    " sudo"
)
_PERMIT = (
    "Разрешите в sshd AllowStreamLocalForwarding (без DisableForwarding, AllowTcpForwarding yes) и"
    " port-forwarding там, где authorized_keys ограничивает ключ"
)
_SLOWER = "`asterisk -rx`, медленнее на сотни миллисекунд: "
_SFTP_REMEDY = "Дайте sshd `Subsystem sftp internal-sftp`, а пользователю MaxSessions"
_OWN_FILE = "Укажите в CDR_FILE собственный файл cdr_csv, с колонками Asterisk по умолчанию"
_TIDY = "Удалите старые журналы и записи разговоров на {host}, и пусть это делает logrotate"
_HANGS = "Asterisk на {host} завис или запускается: посмотрите на него"
_OF_LINES = "{path}: записей {records} из последних строк: {lines}"

LINES: dict[str, tuple[str, str]] = {
    "NAME_MISSING": ("без ip не проверить", ""),
    "NAME_ADDRESS": ("{host} это адрес", ""),
    "NAME_RESOLVED": ("{host} это {addresses}", ""),
    "NAME_UNKNOWN": ("{reason}", "Исправьте enterprises.ip или имя в DNS"),
    "PORT": ("TCP-порт {port} отвечает", ""),
    "KEY_PINNED": ("{shown}, как закреплён", ""),
    "KEY_CHANGED": ("сменился: {shown}, а закреплён {pinned}", _FORGET),
    "KEY_CHANGED_UNHEEDED": ("сменился: {shown}, а закреплён {pinned}", _FORGET),
    "KEY_KNOWN_HOSTS": ("новый: {shown}; решает SSH_KNOWN_HOSTS_FILE", ""),
    "KEY_UNHEEDED": ("новый: {shown}; никто его не требует", "Задайте SSH_HOST_KEYS=pin"),
    "KEY_NEW": (
        "новый: {shown}; первый вход, он сейчас будет, закрепит его",
        "Сверьте его с `ssh-keygen -lf` файла ключа из /etc/ssh на АТС",
    ),
    "LOG_IN": ("АТС нас впускает", ""),
    "LOG_IN_UNKNOWN_KEY": (
        "{reason}",
        "Пусть SSH_KNOWN_HOSTS_FILE читается, и в нём будет ключ [{host}]:{port}",
    ),
    "CONSOLE_SOCKET": ("управляющий сокет: миллисекунды на команду", ""),
    "CONSOLE_EXEC": ("`asterisk -rx`, как задано в ASTERISK_TRANSPORT", ""),
    "SLOWER_FORBIDDEN": (_SLOWER + "sshd не пропускает к {socket}", _PERMIT),
    "SLOWER_DENIED": (_SLOWER + "SSH_USER не вправе открыть {socket}", _LET_OPEN),
    "SLOWER_ELSEWHERE": (
        _SLOWER + "на АТС нет {socket}",
        (
            "Исправьте ASTERISK_SOCKET: asterisk.ctl в каталоге сокета, который называет `core show"
            " settings`"
        ),
    ),
    "STOPPED": (
        "Asterisk остановлен: никто не слушает его управляющий сокет",
        "Запустите Asterisk на {host}",
    ),
    "NO_SOCKET": (
        "Asterisk остановлен, или его управляющий сокет в другом месте: на АТС нет {socket}",
        "Запустите Asterisk на {host} или исправьте ASTERISK_SOCKET",
    ),
    "SOCKET_DENIED": (
        "SSH_USER не вправе открыть {socket}, и `{command} -rx` тоже не работает",
        _LET_OPEN,
    ),
    "COMMAND_FAILED": (
        "{reason}",
        "Исправьте ASTERISK_COMMAND или то, что SSH_USER вправе выполнять на {host}",
    ),
    "NO_WAY": (
        "{reason}",
        (
            "Запустите Asterisk на {host} и разрешите в sshd AllowStreamLocalForwarding, или пусть"
            " работает ASTERISK_COMMAND"
        ),
    ),
    "NO_WAY_TOLD": (
        "АТС отказывает в {socket}, а оболочки, которая сказала бы почему, нет",
        (
            "Запустите Asterisk на {host}; иначе разрешите в sshd AllowStreamLocalForwarding, а"
            " ключу port-forwarding; иначе дайте SSH_USER открывать сокет"
        ),
    ),
    "HANGS": ("{reason}", _HANGS),
    "VERSION": ("{version}, {tried}", ""),
    "VERSION_UNKNOWN": (
        "{version}: такой версии не знаем",
        "Убедитесь, что это {oldest} или новее",
    ),
    "VERSION_OLD": (
        "{version}, {tried}; старше {oldest}",
        "Нужен Asterisk {oldest} или новее",
    ),
    "VERSION_BLOCKS": (
        (
            "{version}, {tried}; до 11 `channel originate` держит консоль, пока внутренний не"
            " ответит, поэтому звонить сразу могут: {most}"
        ),
        (
            "Оставьте так, если этого хватает; через управляющий сокет звонить может больше, чем"
            " через `asterisk -rx`, а с Asterisk 12 и новее сколько угодно"
        ),
    ),
    "ORIGINATE": ("`channel originate` есть и нам разрешён", ""),
    "ORIGINATE_MISSING": (
        "у Asterisk нет `channel originate`: ни один звонок не разместить",
        "Загрузите его модуль res_clioriginate, и пусть его загружает modules.conf",
    ),
    "ORIGINATE_DENIED": (
        "Asterisk не разрешает SSH_USER `channel originate`: ни один звонок не разместить",
        "Разрешите его в cli_permissions.conf",
    ),
    "DRIVERS": ("{known}", ""),
    "NO_DRIVER": (
        "нет ни SIP, ни PJSIP, ни IAX2",
        "Загрузите chan_sip, chan_pjsip или chan_iax2",
    ),
    "OTHER_DRIVER": (
        "{known}, а CHANNEL_TECHNOLOGY {wanted}",
        "Задайте CHANNEL_TECHNOLOGY=auto",
    ),
    "CONTEXT": ("{context} есть в диалплане", ""),
    "NO_CONTEXT": (
        "в диалплане нет контекста {context}",
        "Укажите в DIALPLAN_CONTEXT тот, в котором звонят телефоны внутренних",
    ),
    "RECORDS": ("пишутся в конце каждого звонка", ""),
    "RECORDS_OFF": (
        "Asterisk не пишет их в файл: нет ни истории, ни верного итога звонков",
        "Загрузите cdr_csv и задайте enable=yes в cdr.conf",
    ),
    "RECORDS_BATCH": (
        "пишутся пачками: итог звонка уточняется поздно",
        "Задайте batch=no в cdr.conf",
    ),
    "SFTP": ("файлы читаются", ""),
    "NO_SFTP": ("{reason}", _SFTP_REMEDY),
    "FILE_UNREADABLE": ("{reason}", "{remedy}"),
    "FILE_EMPTY": ("в {path} ещё нет ни строки", ""),
    "FILE": (_OF_LINES + ", колонок {columns}, часовой пояс {zone}", ""),
    "FILE_MIXED": (_OF_LINES, _OWN_FILE),
    "FILE_OTHER": (_OF_LINES, _OWN_FILE),
    "FILE_WITHOUT_ZONE": (
        _OF_LINES
        + ", колонок {columns}; ни одна не говорит часового пояса, поэтому нет ни истории,"
        " ни верного итога звонков",
        "Задайте loguniqueid=yes в разделе [csv] файла cdr.conf",
    ),
    "DISK": ("свободно {free} из {total} МиБ в {folder}", ""),
    "DISK_FULL": ("свободно {free} из {total} МиБ в {folder}: записи о звонках теряются", _TIDY),
    "DISK_NO_FILES": ("в {folder} больше не создать ни одного файла", _TIDY),
    "DISK_LITTLE": (
        "свободно {free} из {total} МиБ в {folder}: записи о звонках скоро прекратятся",
        _TIDY,
    ),
    "DISK_NO_SFTP": ("{reason}", _SFTP_REMEDY),
    "DISK_UNKNOWN": ("sshd не говорит, сколько места в {folder}", ""),
    "CLOCK": ("как у этой машины, с точностью до 2 с", ""),
    "CLOCK_WRONG": (
        "{way} на {off} с от этой машины: время звонков и записей расходится",
        "Пусть NTP ставит часы на обеих",
    ),
    "CLOCK_UNKNOWN": ("нет оболочки, которая сказала бы время", ""),
    "CLOCK_SILENT": (
        "оболочка АТС не сказала время вовремя",
        (
            "Посмотрите, не перегружен ли {host} и не стоит ли вместо оболочки команда, которая не"
            " заканчивается"
        ),
    ),
    "SHELL_NONE": ("нашему ключу не дана: он открывает лишь консоль Asterisk и файлы", ""),
    "SHELL_NEEDED": ("наш ключ выполняет `asterisk -rx`, которому она нужна", ""),
    "SHELL_OPEN": (
        "наш ключ может выполнить на АТС любую команду, а она ему не нужна",
        (
            "Поставьте перед ним в authorized_keys на АТС"
            ' `restrict,port-forwarding,command="internal-sftp -R"`, сначала restrict'
        ),
    ),
    "SKIPPED": ("не проверить, пока не в порядке: {needs}", ""),
    "FAILED": ("{reason}", "{remedy}"),
    "NOT_UNDERSTOOD": (
        "ответ не понять ({error})",
        "Посмотрите, есть ли на {host} OpenSSH и Asterisk; если есть, сообщите об этом",
    ),
}

# Why a step fails, by the error's code, with the service's own sentence; and what helps.
ERRORS: dict[str, tuple[str, str]] = {
    "ssh-connect-timeout": (
        "АТС не ответила по SSH вовремя ({reason})",
        "Пропустите порт {port} хоста {host} через каждый межсетевой экран; включён ли хост?",
    ),
    "ssh-connect-failed": (
        "с АТС не соединиться ({reason})",
        "Исправьте enterprises.ip или SSH_PORT ({port}), или запустите sshd на {host}",
    ),
    "ssh-connection-lost": (
        "соединение с АТС оборвалось ({reason})",
        (
            "Убедитесь, что порт {port} на {host} принадлежит sshd; если да, посмотрите его журнал:"
            " соединение обрывает sshd или межсетевой экран"
        ),
    ),
    "ssh-authentication-failed": (
        "АТС не принимает наш логин, пароль или ключ ({reason})",
        (
            "Задайте SSH_USER и SSH_PASSWORD или SSH_PRIVATE_KEY так, как их принимает sshd на"
            " {host}"
        ),
    ),
    "ssh-secret-unreadable": (
        "чем входить на АТС, не узнать ({reason})",
        "Исправьте секрет, который называет SSH_SECRET_ARN, или разрешите его читать",
    ),
    "ssh-host-key-changed": ("ключ АТС сменился ({reason})", _FORGET),
    "asterisk-socket-refused": (
        "в управляющем сокете Asterisk отказано ({reason})",
        "Посмотрите, не запускается ли Asterisk на {host} и не перегружена ли его консоль",
    ),
    "asterisk-no-answer": ("Asterisk не отвечает ({reason})", _HANGS),
    "asterisk-unavailable": (
        "Asterisk недоступен ({reason})",
        "Запустите Asterisk на {host} или исправьте SSH_USER, ASTERISK_SOCKET и ASTERISK_COMMAND",
    ),
    "asterisk-rejected-command": (
        "Asterisk не знает этой команды ({reason})",
        (
            "Загрузите на {host} модуль Asterisk для этой команды или разрешите её в"
            " cli_permissions.conf"
        ),
    ),
}
# The same, of errors that have no remedy of their own.
REASONS: dict[str, str] = {
    "cdr-unreadable": "записи о звонках не прочитать ({reason})",
    "pbx-busy": "очередь к этой АТС полна ({reason})",
    "pbx-sends-too-much": "АТС шлёт слишком много ({reason})",
    "no-such-call": "такого звонка нет",
    "call-ended": "звонок уже окончен",
    "call-not-ready": "звонок ещё не начался, положить трубку нечему",
    "call-elsewhere": "звонок на другой АТС, чем теперь у предприятия",
}
