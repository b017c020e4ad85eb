"""What lists of passwords that are tried first are made of. Passwords have 12 characters or more here, so that what
counts is the parts that people lengthen them with, in the languages of the plants we know of.
"""

from __future__ import annotations

_TEXT = """
password passwort passwd passwords pass motdepasse contrasena senha parola wachtwoord losenord heslo salasana kennwort
admin administrator administrateur root sysadmin superuser user benutzer guest gast test testing demo default changeme
change letmein welcome willkommen bienvenue bienvenido benvenuto welkom login logon signin access secret geheim secreto
private please bitte hello hallo bonjour hola ciao money geld love liebe amor amour iloveyou ichliebedich loveyou
qwerty qwertz azerty asdf yxcv zxcv trustno football fussball soccer baseball basketball hockey dragon monkey master
shadow sunshine princess prinzessin superman batman spiderman pokemon starwars jordan michael michelle jessica ashley
daniel thomas andreas stefan sebastian alexander charlie freedom whatever computer internet network server database
system windows linux ubuntu debian apple google microsoft samsung cisco oracle postgres mysql sqlite grafana docker
spring summer autumn winter fruehling sommer herbst january february march april june july august september october
november december januar februar maerz juni juli oktober dezember monday tuesday wednesday thursday friday saturday
sunday montag dienstag mittwoch donnerstag freitag samstag sonntag today morgen heute company firma factory fabrik werk
plant machine maschine maintenance wartung service operator engineer engineering technik production produktion scada
siemens rockwell schneider bosch festo abb pump pumpe motor fan gateway sensor bearing millwright vibration industrial
chocolate schokolade banana orange cheese coffee kaffee pepper flower blume butterfly schatz engel angel diamond gold
silver purple blue green yellow black white schwarz weiss killer hunter ranger cowboy tiger lion bear wolf eagle falcon
liverpool chelsea arsenal barcelona bayern dortmund madrid berlin london paris hamburg munich muenchen wien zuerich
america germany deutschland england france espana italia correct horse battery staple
"""
COMMON_WORDS = frozenset(_TEXT.split())
